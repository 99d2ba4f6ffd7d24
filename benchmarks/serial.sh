#!/usr/bin/env bash
# What a careful person writes by hand: make a part, wait until it is ready, then the next part.
# `invoke bench` runs it with the same images, objects and settings that `invoke up` uses, and compares the two.
# All variables, and the files in FOLDER, come from bootstrap/devtools/bench_baseline.py; the docker network is there already.
set -euo pipefail

begun=$SECONDS
part() {
  [ -z "${current:-}" ] || echo "$current: $((SECONDS - begun)) s"
  current=$1 begun=$SECONDS
}
quiet() { "$@" > "$FOLDER/log" 2>&1 || { cat "$FOLDER/log" >&2; exit 1; }; }
apply() { quiet "$KUBECTL" apply --filename="$FOLDER/$1.yaml"; }
deployments() { quiet "$KUBECTL" wait deployment --all --for=condition=Available --timeout=300s --namespace="$1"; }
registry() { # as crane reaches it: our CA, our login, no proxy
  env -u HTTPS_PROXY -u https_proxy DOCKER_CONFIG="$LOGIN" SSL_CERT_FILE="$FOLDER/certs/ca.crt" SSL_CERT_DIR=/nowhere \
    "$CRANE" "$@" > /dev/null 2>&1
}

part registry
docker volume create --label="$LABEL" "$NAME-registry" > /dev/null
docker create --name="$NAME-registry" --label="$LABEL" --restart=unless-stopped --memory=1g \
  --network="$KIND_EXPERIMENTAL_DOCKER_NETWORK" --network-alias="$REGISTRY_HOST" \
  --publish="127.0.0.1:$REGISTRY_PORT:5000" --volume="$NAME-registry:/var/lib/registry" \
  --cap-drop=ALL --security-opt=no-new-privileges "$REGISTRY_IMAGE" > /dev/null
docker cp "$FOLDER/registry" "$NAME-registry:/etc" > /dev/null
docker start "$NAME-registry" > /dev/null
until registry catalog "127.0.0.1:$REGISTRY_PORT"; do sleep 0.2; done
while read -r repository layout; do
  registry push "$layout" "127.0.0.1:$REGISTRY_PORT/$repository"
done <<< "$SEEDS"

part cluster
quiet "$KIND" create cluster --name="$NAME" --image="$NODE_IMAGE" --config="$FOLDER/kind.yaml" --wait=180s
quiet "$KUBECTL" wait node --all --for=condition=Ready --timeout=180s
for node in $("$KIND" get nodes --name="$NAME" 2> /dev/null); do
  docker exec "$node" mkdir -p "$CERTS"
  docker cp "$FOLDER/certs/." "$node:$CERTS" > /dev/null
done

part namespaces
apply namespaces
apply credentials

part tekton-pipelines
apply tekton-pipelines
deployments tekton-pipelines
deployments tekton-pipelines-resolvers

part tekton-triggers
apply tekton-triggers-kinds
quiet "$KUBECTL" wait crd --all --for=condition=Established --timeout=60s
apply tekton-triggers
deployments tekton-pipelines

part builder
apply builder
deployments cicd-build

part git
apply git
deployments git

part demo
apply demo
deployments demo

part target
token=$("$KUBECTL" create token pipeline-deployer --namespace=demo --duration=720h)
"$KUBECTL" config view --raw --minify --flatten --output=json \
  | TOKEN=$token python3 -c '
import json, os, sys
view = json.load(sys.stdin)
cluster = {"server": "https://kubernetes.default.svc",
           "certificate-authority-data": view["clusters"][0]["cluster"]["certificate-authority-data"]}
json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "target",
           "clusters": [{"name": "target", "cluster": cluster}],
           "users": [{"name": "target", "user": {"token": os.environ["TOKEN"]}}],
           "contexts": [{"name": "target", "context": {"cluster": "target", "user": "target", "namespace": "demo"}}]},
          sys.stdout)' \
  | "$KUBECTL" create secret generic target-kubeconfig --namespace=cicd --from-file=kubeconfig=/dev/stdin > /dev/null

part pipeline
apply pipeline
apply poller
apply cleanup
quiet "$KUBECTL" get pipeline git-cicd --namespace=cicd

part listener
apply listener
quiet "$KUBECTL" wait deployment/el-demo-listener --for=create --timeout=60s --namespace=cicd
deployments cicd
part done
