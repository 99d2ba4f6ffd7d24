"""Chinese for the sentences that other parts of the program make: why a delivery started nothing, what a step found.

They reach the pages as finished English texts, so that they are recognized by their fixed parts. What is not recognized
stays English. The terms are those of `translations`.
"""

from __future__ import annotations

import functools
import re

MOST_CHARACTERS = 500
"""A longer text is not looked at."""

MESSAGES = {
    # why a webhook delivery started nothing (objects/delivery_trace.py)
    "the commit has its run; for another one: invoke rerun --run {run}": "该提交已有运行；要再运行一次：invoke rerun --run {run}",
    "it became a run, which does not exist any more: old runs are deleted": "已启动运行，但该运行已不存在：旧的运行会被删除",
    "events of type {event} start nothing": "{event} 类型的事件不会启动运行",
    "it carries no signature; enter the secret at the git host": "没有签名；请在 Git 主机上填写密钥",
    "its signature was made with another secret, or its body was changed on the way": "签名使用了另一个密钥，或内容在途中被改动",
    "it brought no commit to a branch: a deletion, or a pull request that was not merged": "没有给分支带来提交：是删除，或未合并的合并请求",
    "its commit id, address or branch is none": "提交号、地址或分支无效",
    "{ref} of {repository} is not watched": "{repository} 的 {ref} 未被监视",
    "that interceptor's condition is not met": "不满足该拦截器的条件",
    "every interceptor accepted it, but the listener logged nothing more": "所有拦截器都已接受，但监听器没有更多日志",
    # what to type next (console/next_command.py)
    "the environment is ready, but its runs cannot be read": "环境已就绪，但无法读取运行",
    "everything is ready; nothing has run yet": "一切就绪；还没有运行",
    "a run is under way; its log is below, or in the terminal": "运行正在进行；日志见下方或终端",
    "everything is ready; push a commit, then run it": "一切就绪；请推送提交，然后运行",
    # why a run failed (objects/run_status.py)
    "failed in {task}: {why}": "在 {task} 中失败：{why}",
    "timed out in {task}: {why}": "在 {task} 中超时：{why}",
    "{code} in step {step}": "步骤 {step}：{code}",
    # why one was superseded (objects/run_status.py, incluster/deploy.py)
    "superseded by {run}": "被 {run} 取代",
    "superseded: {name} has the image of a later run (number {noted}, this is {own})": "被取代：{name} 的镜像属于之后的运行（编号 {noted}，本次为 {own}）",
    "superseded: {name} was given {image} meanwhile": "被取代：{name} 的镜像在此期间变为 {image}",
    # what keeps an application waiting (incluster/applications.py, manager/, console/views/applications.py)
    "the manager has not looked at it yet": "管理程序还没有处理它",
    "branch {branch} of environment {environment} goes to {other} already ({before})": "环境 {environment} 的分支 {branch} 已属于 {other}（{before}）",
    "Deployment {place} is application {name}'s": "Deployment {place} 属于应用 {name}",
    "image {image} is application {name}'s": "镜像 {image} 属于应用 {name}",
    "{url} cannot be read: {why}": "无法读取 {url}：{why}",
    # how far the central repository is applied (incluster/application_source.py, manager/repository_watch.py)
    "not looked at yet": "还没有查看",
    "{commit} is applied: {n} application": "已应用 {commit}：{n} 个应用",
    "{commit} is applied: {n} applications": "已应用 {commit}：{n} 个应用",
    "{commit} changes nothing: {why}; {applied} stays applied": "{commit} 没有改变任何内容：{why}；仍应用 {applied}",
    "{commit} changes nothing: {why}; nothing is applied yet": "{commit} 没有改变任何内容：{why}；还没有应用任何提交",
    "{why}; {applied} stays applied": "{why}；仍应用 {applied}",
    "{why}; nothing is applied yet": "{why}；还没有应用任何提交",
    "the repository cannot be read: {why}": "无法读取仓库：{why}",
    "there is no branch {branch}": "没有分支 {branch}",
    # what steps found (steps/)
    "needs {step}": "需要 {step}",
    "{n} objects": "{n} 个对象",
    "{n} images in the registry": "镜像仓库中有 {n} 个镜像",
    "{n} images in the nodes from the start": "节点从一开始就有 {n} 个镜像",
    "{n} images served by {mirror}": "{mirror} 提供 {n} 个镜像",
    "{registry}, push and pull proved": "{registry}，推送与拉取已验证",
    "pushes to {branches} start a run": "推送到 {branches} 会启动运行",
    "may deploy to namespace {namespace}, for {n} days": "可部署到命名空间 {namespace}，还有 {n} 天",
    "kind {name}, {n} nodes, Kubernetes {version}": "kind {name}，{n} 个节点，Kubernetes {version}",
    "git-auth, docker-auth, buildkit (mutual TLS)": "git-auth、docker-auth、buildkit（双向 TLS）",
    "dry runs accepted": "接受试运行",
    "read-only": "只读",
    "{name} is missing": "缺少 {name}",
    "{name} is missing or has changed": "{name} 缺失或已改变",
    "{n} of {count} nodes have joined": "{count} 个节点中 {n} 个已加入",
    "{n} images are not in the nodes": "节点中缺少 {n} 个镜像",
    "{name} starts again": "{name} 正在重新启动",
    "{names} is stopped": "{names} 已停止",
    "there is no cluster yet": "还没有集群",
    "the target has changed": "部署目标已改变",
    "the container is stopped": "容器已停止",
    "the container is missing": "缺少容器",
    "its network is missing": "缺少它的网络",
    "the git server does not answer yet: {why}": "Git 服务器还没有应答：{why}",
}


def translate_message(text: str) -> str:
    """The Chinese sentence, with what stands between the fixed parts; the text itself if it is not known.

    Of "NAME: SENTENCE" the sentence is translated.
    """
    if len(text) > MOST_CHARACTERS:
        return text
    for pattern, translated in _compile():
        found = pattern.fullmatch(text)
        if found:
            return translated.format(**{name: translate_message(each) for name, each in found.groupdict().items()})
    name, colon, rest = text.partition(": ")
    after = translate_message(rest) if colon else rest
    return f"{name}：{after}" if after != rest else text


@functools.cache
def _compile() -> list[tuple[re.Pattern[str], str]]:
    """The fixed parts as regular expressions, those with the most fixed characters first."""
    known = sorted(MESSAGES.items(), key=lambda each: -len(re.sub(r"\{\w+\}", "", each[0])))
    return [(re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^\\n]+?)", re.escape(each))), zh) for each, zh in known]
