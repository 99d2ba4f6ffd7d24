"""What the pages show, from objects: no browser, no cluster."""

from __future__ import annotations

import ast
import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bootstrap.console.context import STYLE
from bootstrap.console.message_translations import MESSAGES
from bootstrap.console.rollout import Rollout
from bootstrap.console.task_graph import PlannedTask, arrange_columns, read_plan
from bootstrap.console.translations import CHINESE, ZH, Translator, choose_language
from bootstrap.console.views.applications import ICONS as APPLICATION_ICONS
from bootstrap.console.views.applications import list_applications
from bootstrap.console.views.deployment import describe_deployment
from bootstrap.console.views.events import list_events
from bootstrap.console.views.failure_reasons import explain_failure
from bootstrap.console.views.resources import format_bytes, format_cores, parse_quantity, sum_resources
from bootstrap.console.views.runs import (
    ICONS,
    STATES,
    Filter,
    choose_step,
    describe_run,
    describe_run_page,
    list_rows,
)
from bootstrap.console.views.runs import list_applications as list_names
from bootstrap.console.views.timeline import describe_timeline
from bootstrap.console.views.times import format_age, format_duration
from bootstrap.core.model import Object
from bootstrap.core.paths import PROJECT
from bootstrap.incluster.rollout import HISTORY
from bootstrap.manager.application_status import LIVE
from bootstrap.objects.manifests import load
from bootstrap.objects.run_status import WAYS, Run, RunState, parse_run
from tests.unit import page_world as stage
from tests.unit.page_world import COMMIT, DIGEST

TRANSLATE = Translator()
IMAGE = f"registry.tekton.internal:5000/demo/go-echo@{DIGEST}"
OTHER = IMAGE.replace("81ab", "77cd")
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def many(count: int) -> list[Run]:
    states = [RunState.SUCCEEDED, RunState.FAILED, RunState.RUNNING]
    return [Run(f"run-{i}", "cicd", states[i % 3], branch=f"b{i % 7}", commit=f"{i:040x}") for i in range(count)]


# the list


def test_rows_are_those_of_one_page_that_all_filters_let_pass() -> None:
    rows, total = list_rows(many(2000), Filter(state="Failed", branch="b1"), 1, 25, NOW)
    assert (len(rows), total) == (25, 96)
    assert {(row["state"], row["branch"]) for row in rows} == {("Failed", "b1")}
    assert list_rows(many(10), Filter(text="RUN-7"), 0, 25, NOW)[1] == 1
    assert list_rows(many(10), Filter(by="push"), 0, 25, NOW) == ([], 0)


def test_two_thousand_runs_are_filtered_in_a_moment() -> None:
    runs, start = many(2000), time.perf_counter()
    for _ in range(10):
        list_rows(runs, Filter(text="nothing has this"), 0, 25, NOW)
    assert (time.perf_counter() - start) / 10 < 0.25


def test_a_row_tells_what_people_look_for() -> None:
    task = stage.task_run("r", "git-clone")
    task["status"]["results"] = [{"name": "author", "value": "Ada"}]
    row = describe_run(parse_run(stage.pipeline_run("r"), [task]), datetime.now(UTC))
    assert (row["short"], row["author"], row["digest"], row["length"]) == (COMMIT[:7], "Ada", DIGEST[7:19], "20 s")
    assert (row["icon"], row["over"]) == ("check_circle", True)


def test_runs_of_an_application_are_found_by_it() -> None:
    runs = [*many(3), Run("orders-1", "cicd", RunState.FAILED, application="orders"), *many(2)]
    rows, total = list_rows(runs, Filter(app="orders"), 0, 25, NOW)
    assert ([(row["app"], row["run"]) for row in rows], total) == ([("orders", "orders-1")], 1)
    assert list_rows(runs, Filter(app="order"), 0, 25, NOW) == ([], 0)
    assert list_rows([replace(runs[3], name="x")], Filter(text="ORDER"), 0, 25, NOW)[1] == 1
    assert list_names(runs) == ["orders"]


# applications


def test_an_application_has_a_row_for_each_environment_in_the_order_of_its_declaration() -> None:
    places = [{"name": "staging", "namespace": "sales-staging"}, {"name": "stable"}]
    told = {"name": "stable", "state": "queued", "waits": 3, "run": "orders-2", "commit": COMMIT, "since": "2026-11-25"}
    url = "https://git.example.com/orders.git"
    obj = stage.application("orders", told, spec={"environments": places, "repository": {"url": url}})
    staging, stable = list_applications([obj], [])
    assert (staging["environment"], staging["namespace"]) == ("staging", "sales-staging")
    assert (staging["state"], staging["why"], staging["run"], staging["commit"]) == ("new", "", "", "")
    assert (stable["namespace"], stable["state"], stable["place"], stable["run"]) == ("orders", "queued", 3, "orders-2")
    assert (stable["commit"], stable["since"], stable["repository"]) == (COMMIT, "2026-11-25", url)


def test_applications_are_sorted_and_one_that_nobody_has_looked_at_yet_says_so() -> None:
    known = stage.application("a", {"name": "default", "state": "ready", "commit": COMMIT})
    first, second = list_applications([{"metadata": {"name": "b"}}, known], [])
    assert (first["app"], first["state"], first["why"], first["repository"]) == ("a", "ready", "", "")
    assert (second["app"], second["state"]) == ("b", "new")
    assert "not looked" in second["why"]


def test_why_an_application_failed_was_refused_or_cannot_be_read() -> None:
    failed = {"name": "default", "state": "failed", "why": "exit 1", "waits": 0}
    refused = {"status": "False", "reason": "Refused", "message": "image x is application a's"}
    unread = {"status": "False", "reason": "Unreadable", "message": "http://g/a.git cannot be read: no route"}
    objects = [
        stage.application("a", failed),
        stage.application("b", {"name": "default", "state": "new"}, ready=refused),
        stage.application("c", {"name": "default", "state": "ready"}, ready=unread),
        stage.application("d", failed, ready=unread),
        stage.application("e", spec={"arrive": {"poll": "often"}}),
    ]
    rows = list_applications(objects, [])
    assert [(row["state"], row["why"]) for row in rows[:4]] == [
        ("failed", "exit 1"),
        ("refused", "image x is application a's"),
        ("ready", "http://g/a.git cannot be read: no route"),
        ("failed", "http://g/a.git cannot be read: no route; exit 1"),
    ]
    assert rows[4]["state"] == "refused"
    assert "often" in rows[4]["why"]


def test_the_branch_of_what_serves_is_that_of_its_run_or_what_the_status_tells() -> None:
    obj = stage.application("orders", {"name": "default", "commit": COMMIT}, commit=COMMIT[:7], branch="told")
    run = Run("r", "cicd", RunState.SUCCEEDED, application="orders", environment="default", commit=COMMIT, branch="x")
    assert list_applications([obj], [run])[0]["branch"] == "x"
    assert list_applications([obj], [replace(run, state=RunState.FAILED)])[0]["branch"] == "told"
    obj["status"]["commit"] = "0123456"
    assert list_applications([obj], [])[0]["branch"] == ""


def test_every_state_that_the_manager_tells_has_an_icon_and_a_colour() -> None:
    style = STYLE.read_text()
    assert {*LIVE.values(), "new", "ready", "failed", "refused"} == {*APPLICATION_ICONS}
    assert [state for state in APPLICATION_ICONS if state != "new" and f".is-{state}" not in style] == []


# the graph


def test_tasks_stand_right_of_all_they_need_and_finally_last() -> None:
    run = stage.pipeline_run("r")
    run["status"]["pipelineSpec"]["tasks"] = [
        *stage.TASKS,
        {"name": "scan", "params": [{"name": "x", "value": "$(tasks.git-clone.results.commit)"}]},
        {"name": "both", "runAfter": ["deploy", "scan"]},
    ]
    found = arrange_columns(read_plan(run))
    assert found == [["git-clone"], ["build-image", "scan"], ["deploy"], ["both"], ["notify"]]


def test_a_graph_without_a_plan_or_in_a_circle_is_drawn_all_the_same() -> None:
    assert arrange_columns((), ["a", "b"]) == [["a", "b"]]
    circle = arrange_columns((PlannedTask("a", ("b",)), PlannedTask("b", ("a",))))
    assert sorted(name for column in circle for name in column) == ["a", "b"]
    assert read_plan({"metadata": {}}) == ()


# why a run failed


def failed(**terminated: Any) -> Run:
    task = stage.task_run("r", "build-image", "Failed")
    task["status"]["steps"][0]["terminated"] |= terminated
    return parse_run(stage.pipeline_run("r", "Failed"), [task])


def test_a_failure_is_told_in_plain_words() -> None:
    assert explain_failure(failed(), TRANSLATE) == "Task build-image failed: its step run ended with exit 1."
    assert "more memory" in explain_failure(failed(exitCode=137), TRANSLATE)
    assert "needed more memory" in explain_failure(failed(exitCode=1, reason="OOMKilled"), TRANSLATE)
    assert "was not found" in explain_failure(failed(exitCode=127), TRANSLATE)
    assert explain_failure(failed(), Translator(CHINESE)).startswith("任务 build-image 失败")


@pytest.mark.parametrize(("state", "said"), [("Cancelled", "It was cancelled."), ("Succeeded", ""), ("Running", "")])
def test_other_ends(state: str, said: str) -> None:
    assert explain_failure(parse_run(stage.pipeline_run("r", state)), TRANSLATE) == said


@pytest.mark.parametrize(
    ("annotations", "results", "said", "chinese"),
    [
        (
            {"tekton-bootstrap.dev/superseded-by": "r2"},
            [],
            "Run r2 came after it, and took its place.",
            "被之后的运行 r2 取代。",
        ),
        (
            {},
            [{"name": "superseded", "value": "superseded: web was given x meanwhile"}],
            "superseded: web was given x meanwhile",
            "被取代：web 的镜像在此期间变为 x",
        ),
    ],
)
def test_a_run_that_was_superseded_is_told_as_that(
    annotations: Object, results: list[Object], said: str, chinese: str
) -> None:
    made, task = stage.pipeline_run("r", "Failed" if results else "Cancelled"), stage.task_run("r", "deploy", "Failed")
    made["metadata"]["annotations"] = annotations
    task["status"]["results"] = results
    run = parse_run(made, [task])
    assert explain_failure(run, TRANSLATE) == said
    assert explain_failure(run, Translator(CHINESE)).startswith(chinese)
    row = describe_run(run, datetime.now(UTC))
    assert (row["state"], row["icon"], row["why"]) == ("Superseded", "fast_forward", run.why)
    assert run.why.startswith("superseded")


def test_the_list_can_be_narrowed_to_every_state_that_a_run_may_have() -> None:
    assert {*STATES} == {*RunState} - {RunState.SKIPPED}
    assert {*ICONS} == {*RunState}


def test_a_run_that_never_had_a_task_says_what_tekton_says() -> None:
    run = stage.pipeline_run("r", "Failed")
    run["status"]["conditions"] = stage.conditions("CouldntGetPipeline", "no such pipeline")
    assert "no such pipeline" in explain_failure(parse_run(run), TRANSLATE)


def test_the_log_to_show_first() -> None:
    bad = stage.task_run("r", "build-image", "Failed")
    run = parse_run(stage.pipeline_run("r", "Failed"), [stage.task_run("r", "git-clone"), bad])
    assert choose_step(run) == ("build-image", "run")
    tasks = [stage.task_run("r", "git-clone"), stage.task_run("r", "build-image", "Running", steps=("a", "b"))]
    assert choose_step(parse_run(stage.pipeline_run("r", "Running"), tasks)) == ("build-image", "a")
    good = [stage.task_run("r", "deploy"), stage.task_run("r", "notify")]
    plan = (PlannedTask("deploy"), PlannedTask("notify", last=True))
    assert choose_step(parse_run(stage.pipeline_run("r"), good), plan) == ("deploy", "run")
    assert choose_step(parse_run(stage.pipeline_run("r"), good[1:]), plan) == ("notify", "run")
    assert choose_step(parse_run(stage.pipeline_run("r", "Running"))) == ("", "")


def test_a_run_page_holds_tasks_steps_parameters_and_results() -> None:
    run = parse_run(stage.pipeline_run("r"), [stage.task_run("r", "git-clone")])
    page = describe_run_page(run, read_plan(stage.pipeline_run("r")), datetime.now(UTC))
    assert page["columns"] == [["git-clone"], ["build-image"], ["deploy"], ["notify"]]
    assert page["tasks"]["git-clone"]["steps"][0] == {
        "name": "run",
        "container": "step-run",
        "state": "Succeeded",
        "icon": "check_circle",
        "why": "",
        "pod": "r-git-clone-pod",
    }
    assert page["tasks"]["notify"]["last"]
    assert page["results"]["commit"] == COMMIT
    assert "REPO" in page["params"]


# deployment


def replica_set(revision: int, image: str, ready: int = 0) -> Object:
    template = {"spec": {"containers": [{"name": "go-echo", "image": image}]}}
    return {
        "metadata": {
            "name": f"go-echo-{revision}",
            "ownerReferences": [{"uid": "u1"}],
            "creationTimestamp": f"2026-11-25T0{revision}:00:00Z",
        },
        "spec": {"template": template},
        "status": {"readyReplicas": ready},
    }


def deployment(**status: Any) -> Object:
    found = stage.deployment(IMAGE)
    found["metadata"] |= {"uid": "u1", "generation": 2}
    found["spec"]["selector"] = {"matchLabels": {"app": "go-echo"}}
    found["status"] = {
        "observedGeneration": 2,
        "replicas": 2,
        "updatedReplicas": 2,
        "availableReplicas": 2,
        "readyReplicas": 2,
        **status,
    }
    return found


def test_what_is_deployed_has_its_commit_its_run_and_its_history() -> None:
    sets = (replica_set(1, OTHER), replica_set(2, IMAGE, 2), {"metadata": {"name": "foreign"}})
    runs = [parse_run(stage.pipeline_run("newest")), parse_run(stage.pipeline_run("older"))]
    found = describe_deployment(Rollout(deployment(), sets, ()), "go-echo", runs, {"version": "1.0.0"})
    assert (found["state"], found["commit"], found["run"]) == ("serving", COMMIT, "newest")
    assert (found["version"], found["since"], found["ready"]) == ("1.0.0", "2026-11-25T02:00:00Z", 2)
    assert [(row["number"], row["current"], row["commit"]) for row in found["history"]] == [
        (2, True, COMMIT),
        (1, False, ""),
    ]


def test_a_rollback_is_added_to_the_history_and_rewrites_none_of_it() -> None:
    """Kubernetes uses the ReplicaSet of an earlier image again, with its old time of creation."""
    third = IMAGE.replace("81ab", "3333")
    sets = (replica_set(1, OTHER), replica_set(2, IMAGE), replica_set(3, third), replica_set(5, "by hand"))
    records = [
        {"when": "2026-11-25T04:00:00+00:00", "image": IMAGE, "how": "rollback", "by": "ada"},
        {"when": "2026-11-25T02:59:59+00:00", "image": third, "how": "run"},
        {"when": "not a time", "image": third},
        "not a record",
    ]
    live = deployment()
    live["metadata"]["annotations"] = {HISTORY: json.dumps(records)}
    found = describe_deployment(Rollout(live, sets, ()), "go-echo", [], {})
    assert found["since"] == "2026-11-25T04:00:00+00:00"
    assert [(row["number"], row["image"], row["how"], row["by"], row["current"]) for row in found["history"]] == [
        (5, "by hand", "", "", False),
        (4, IMAGE, "rollback", "ada", True),
        (3, third, "run", "", False),
        (2, IMAGE, "", "", False),
        (1, OTHER, "", "", False),
    ]
    live["metadata"]["annotations"] = {HISTORY: "{"}
    assert describe_deployment(Rollout(live, sets, ()), "go-echo", [], {})["since"] == "2026-11-25T02:00:00Z"


def test_nobody_is_offered_to_go_back_to_an_image_that_was_undone() -> None:
    third = IMAGE.replace("81ab", "3333")
    records = [
        {"when": "2026-11-25T05:00:00+00:00", "image": IMAGE, "how": "undo"},
        {"when": "2026-11-25T04:00:00+00:00", "image": third, "how": "run"},
        {"when": "2026-11-25T03:00:00+00:00", "image": IMAGE, "how": "run"},
        {"when": "2026-11-25T02:00:00+00:00", "image": OTHER, "how": "run"},
    ]
    live = deployment()
    live["metadata"]["annotations"] = {HISTORY: json.dumps(records)}
    sets = (replica_set(1, OTHER), replica_set(2, IMAGE, 2), replica_set(3, third))
    found = describe_deployment(Rollout(live, sets, ()), "go-echo", [], {})
    assert [(row["image"], row["failed"], row["kept"]) for row in found["history"][:4]] == [
        (IMAGE, False, True),
        (third, True, False),
        (IMAGE, False, True),
        (OTHER, False, True),
    ]


def test_a_rollout_under_way_and_one_that_is_stuck_say_why() -> None:
    waiting = {"name": "go-echo", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    pod: Object = {
        "metadata": {"name": "p", "labels": {"app": "go-echo"}},
        "spec": {"containers": [{"name": "go-echo", "image": IMAGE}]},
        "status": {"phase": "Pending", "containerStatuses": [waiting]},
    }
    rolling = describe_deployment(Rollout(deployment(updatedReplicas=1), (), (pod,)), "go-echo", [], {})
    assert rolling["state"] == "rolling"
    assert "no such image" in rolling["why"] + rolling["pods"][0]["why"]
    late = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    stuck = describe_deployment(Rollout(deployment(updatedReplicas=1, conditions=late), (), (pod,)), "go-echo", [], {})
    assert stuck["state"] == "stuck"


def test_nothing_deployed_is_no_fault() -> None:
    assert describe_deployment(Rollout(None, (), ()), "go-echo", [], {})["there"] is False


# the rest


@pytest.mark.parametrize(
    ("text", "number"), [("250m", 0.25), ("2", 2), ("1Gi", 2**30), ("12M", 12e6), ("", 0), ("?", 0), ("1e3", 1000)]
)
def test_quantities(text: str, number: float) -> None:
    assert parse_quantity(text) == number


def test_resources_are_summed_over_the_pods_that_run_there() -> None:
    node: Object = {"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}}}
    asked = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1"}}
    pods: list[Object] = [
        {"spec": {"nodeName": "n", "containers": [{"resources": asked}, {}]}, "status": {"phase": phase}}
        for phase in ("Running", "Succeeded")
    ]
    stats = {"n": {"node": {"cpu": {"usageNanoCores": 5e8}, "memory": {"workingSetBytes": 2**30}}}}
    [row] = sum_resources([node], pods, stats)
    assert row["cpu"] == {"all": 2.0, "requests": 0.1, "limits": 1.0, "used": 0.5}
    assert (row["memory"]["used"], row["pods"]) == (2**30, 1)
    assert sum_resources([node], [], {})[0]["cpu"]["used"] is None
    assert (format_bytes(3 * 2**29), format_bytes(None), format_cores(0.25)) == ("1.5 GiB", "?", "0.25")


def test_bars_of_the_last_up() -> None:
    steps = [
        {"name": "a", "start": 0, "seconds": 30, "changed": True},
        {"name": "b", "start": 30, "seconds": 10, "changed": False},
    ]
    assert [(bar["name"], bar["start"], bar["width"]) for bar in describe_timeline({"steps": steps})] == [
        ("a", 0.0, 75.0),
        ("b", 75.0, 25.0),
    ]
    assert describe_timeline({}) == []


def test_events_are_those_of_the_run_in_order() -> None:
    def event(name: str, when: str) -> Object:
        return {"involvedObject": {"kind": "Pod", "name": name}, "lastTimestamp": when, "message": f"a\n {name}"}

    rows = list_events([event("mine", "2"), event("other", "1"), event("mine", "1")], {"mine": "deploy"})
    assert [(row["when"], row["message"]) for row in rows] == [("1", "a mine"), ("2", "a mine")]
    warned = list_events([event("mine", "1"), event("mine", "2") | {"type": "Warning"}], {"mine": "deploy"})
    assert [(row["when"], row["about"]) for row in warned] == [("2", "deploy · Pod"), ("1", "deploy · Pod")]
    assert list_events([event("mine", "1")], {"mine": ""})[0]["about"] == "Pod"


@pytest.mark.parametrize(
    ("seconds", "said"), [(3, "just now"), (180, "3 min ago"), (7200, "2 h ago"), (400_000, "5 d ago")]
)
def test_how_long_ago(seconds: int, said: str) -> None:
    assert format_age((NOW - timedelta(seconds=seconds)).isoformat(), NOW, TRANSLATE) == said


@pytest.mark.parametrize(("seconds", "said"), [(4.2, "4 s"), (372, "6m12s"), (3720, "1h02m")])
def test_lengths(seconds: float, said: str) -> None:
    assert format_duration(seconds) == said


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("de,en;q=0.5", "en"),
        ("en;q=0.3,zh;q=0.7", "zh"),
        ("", "en"),
        ("x;q=y", "en"),
    ],
)
def test_the_language_of_a_browser(accepted: str, language: str) -> None:
    assert choose_language(accepted) == language


def texts_of_the_pages() -> tuple[set[str], set[str]]:
    """(texts that are translated where they stand, all strings) in the console's sources."""
    translated: set[str] = set()
    strings: set[str] = set()

    def constants(node: ast.AST) -> set[str]:
        return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)}

    def is_translate(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "translate"

    for file in (PROJECT / "bootstrap/console").rglob("*.py"):
        if file.name == "translations.py":
            continue
        tree = ast.parse(file.read_text())
        strings |= constants(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and is_translate(node) and node.args:
                translated |= constants(node.args[0])
            if isinstance(node, ast.GeneratorExp | ast.ListComp) and is_translate(node.elt):
                translated |= constants(node.generators[0].iter)
    return translated, strings


def test_every_text_of_the_pages_is_translated_and_no_translation_is_left_over() -> None:
    translated, strings = texts_of_the_pages()
    assert len(translated) > 80
    keys = {"", "state", "by", "verdict", "level", "about"}  # of rows whose values are translated
    assert translated - keys - {*ZH} == set()
    [pipeline] = load(PROJECT / "manifests/pipeline/pipeline.yaml")
    descriptions = {each.get("description") for each in pipeline["spec"]["params"]}
    assert {*ZH} - strings - {state.value for state in RunState} - {*WAYS} - descriptions == set()


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("refs/heads/x of http://g/a.git is not watched", "http://g/a.git 的 refs/heads/x 未被监视"),
        ("failed in build: exit 1 in step run", "在 build 中失败：步骤 run：exit 1"),
        ("superseded by app-1", "被 app-1 取代"),
        (
            "superseded: web has the image of a later run (number 8, this is 7)",
            "被取代：web 的镜像属于之后的运行（编号 8，本次为 7）",
        ),
        ("superseded: web was given r.test/a@sha256:1 meanwhile", "被取代：web 的镜像在此期间变为 r.test/a@sha256:1"),
        ("image r/a is application web's", "镜像 r/a 属于应用 web"),
        ("http://g/a.git cannot be read: no route", "无法读取 http://g/a.git：no route"),
        ("cluster: there is no cluster yet", "cluster：还没有集群"),
        ("whatever: else", "whatever: else"),
        ("read-only" * 100, "read-only" * 100),
    ],
)
def test_sentences_of_other_parts_are_translated_as_far_as_they_are_known(text: str, translated: str) -> None:
    assert Translator(CHINESE).translate_message(text) == translated
    assert TRANSLATE.translate_message(text) == text


def test_every_sentence_that_is_translated_is_still_said_somewhere() -> None:
    folders = ("objects", "steps", "console", "incluster", "manager")
    sources = [file for folder in folders for file in (PROJECT / "bootstrap" / folder).rglob("*.py")]
    said = "".join(file.read_text() for file in sources if file.name != "message_translations.py")
    parts = {part.strip() for text in MESSAGES for part in re.split(r"\{\w+\}", text)}
    assert {part for part in parts if part and part not in said} == set()


def test_translations_have_the_same_gaps() -> None:
    import string

    def gaps(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert [english for english, chinese in {**ZH, **MESSAGES}.items() if gaps(english) != gaps(chinese)] == []
