// Command nodenet keeps the routes between the pods of different nodes: on each node, one route
// to the pod range of every other node, via that node's address.
//
// A restarted node has lost its routes, and it starts this program anew, which sets them again.
// On its way out the program leaves the routes as they are: an update must not cut connections.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	// checkEvery is the longest time between two looks at nodes and routes.
	checkEvery = 30 * time.Second
	// restEvery is the shortest: many changes at once are one look.
	restEvery = time.Second
	// retryMost bounds the pause after a failure. The first ones are expected: this program starts
	// before kube-proxy has made the API server's service address work.
	retryMost = 5 * time.Second
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, log); err != nil {
		log.Error("stopped", "error", err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger) error {
	own, host, port := os.Getenv("NODE_NAME"), os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if own == "" || host == "" || port == "" {
		return errors.New("NODE_NAME, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are needed")
	}
	k := &keeper{own: own, base: "https://" + net.JoinHostPort(host, port), accountDir: accountDir, table: kernel{}, log: log}
	k.keep(ctx)
	return nil
}

// table is the kernel's routing table, or a test's.
type table interface {
	routes() ([]route, error)
	set(route) error
	remove(route) error
}

// keeper makes the table follow the cluster.
type keeper struct {
	own, base, accountDir string
	table                 table
	log                   *slog.Logger
}

// keep goes on until ctx ends. A failure is told once and then only when it changes.
func (k *keeper) keep(ctx context.Context) {
	said, retry := "", restEvery
	for ctx.Err() == nil {
		err := k.follow(ctx, func() {
			if said != "" {
				k.log.Info("recovered")
			}
			said, retry = "", restEvery
		})
		if ctx.Err() != nil {
			return
		}
		if err.Error() != said {
			said = err.Error()
			k.log.Warn("trying again", "error", said)
		}
		rest(ctx, retry)
		retry = min(2*retry, retryMost)
	}
}

// follow uses one API client until something fails; the next call reads the CA anew. It calls good after each look.
func (k *keeper) follow(ctx context.Context, good func()) error {
	api, err := newCluster(k.base, k.accountDir)
	if err != nil {
		return err
	}
	defer api.close()
	for {
		version, err := k.look(ctx, api)
		if err != nil {
			return err
		}
		good()
		if err := api.awaitChange(ctx, version, checkEvery); err != nil {
			return err
		}
		rest(ctx, restEvery)
	}
}

// look compares once and mends; it gives back the version of the nodes that it saw.
func (k *keeper) look(ctx context.Context, api *cluster) (string, error) {
	nodes, version, err := api.nodes(ctx)
	if err != nil {
		return "", err
	}
	wanted, err := wantedRoutes(nodes, k.own)
	if err != nil {
		return "", err
	}
	return version, k.mend(wanted)
}

// mend goes on after a route that fails, for the others may well work. New routes come before old
// ones go: a range whose node got another address has a way at every moment.
func (k *keeper) mend(wanted []route) error {
	present, err := k.table.routes()
	if err != nil {
		return err
	}
	set, remove := diff(wanted, present)
	var faults []error
	apply := func(what string, routes []route, act func(route) error) {
		for _, r := range routes {
			if err := act(r); err != nil {
				faults = append(faults, fmt.Errorf("%s %s: %w", what, r, err))
				continue
			}
			k.log.Info("route "+what, "route", r.String())
		}
	}
	apply("set", set, k.table.set)
	apply("removed", remove, k.table.remove)
	return errors.Join(faults...)
}

func rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
