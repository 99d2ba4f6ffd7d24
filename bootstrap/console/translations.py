"""The texts of the pages in English and Chinese. The English texts are the keys.

Chinese terms are those of docs/glossary.md, one for each thing: 运行 (run), 任务 (task),
步骤 (step), 参数, 结果 (results), 部署 (deployment), 滚动更新 (rollout), 回滚, 投递 (a webhook's delivery), 请求 and 限制
(requests and limits). Pod and Webhook stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bootstrap.console.message_translations import translate_message

ENGLISH, CHINESE = "en", "zh"
LANGUAGES = {ENGLISH: "English", CHINESE: "中文"}

ZH: Mapping[str, str] = {
    # pages and header
    "Applications": "应用",
    "Runs": "运行",
    "Deployment": "部署",
    "Webhooks": "Webhook",
    "Environment": "环境",
    "Tekton Dashboard": "Tekton 仪表板",
    "Skip to content": "跳到正文",
    "Language": "语言",
    "Appearance": "外观",
    "Light": "浅色",
    "Dark": "深色",
    "As the system": "跟随系统",
    "Not found": "未找到",
    "There is no such page.": "没有这个页面。",
    "The console does not answer.": "控制台没有应答。",
    "If it has ended, start invoke dashboard again and open its new address.": "如果它已结束，请重新执行 invoke dashboard，并打开它给出的新地址。",
    # states
    "Running": "运行中",
    "Pending": "等待中",
    "Succeeded": "成功",
    "Failed": "失败",
    "Cancelled": "已取消",
    "TimedOut": "超时",
    "Superseded": "被取代",
    "Skipped": "已跳过",
    "ready": "就绪",
    "pending": "未就绪",
    "failed": "失败",
    "unknown": "未知",
    "leaving": "终止中",
    "starting": "启动中",
    "ok": "正常",
    "warn": "警告",
    "fail": "失败",
    # started by
    "push": "推送",
    "poll": "轮询",
    "hand": "手动",
    # runs
    "Search": "搜索",
    "State": "状态",
    "Branch": "分支",
    "Started by": "触发方式",
    "Commit": "提交",
    "Author": "作者",
    "Time": "用时",
    "Image": "镜像",
    "When": "时间",
    "Run": "运行",
    "any": "全部",
    "{n} runs": "共 {n} 次运行",
    "1 run": "共 1 次运行",
    "{first}–{last} of {n}": "第 {first}–{last} 项，共 {n} 项",
    "Newer": "较新",
    "Older": "较旧",
    "No run matches.": "没有符合条件的运行。",
    "Nothing has run yet. Start a run here, or push a commit.": "还没有运行。可在此处启动，或推送一个提交。",
    "Start a run": "启动运行",
    "Start": "启动",
    "just now": "刚刚",
    "{n} min ago": "{n} 分钟前",
    "{n} h ago": "{n} 小时前",
    "{n} d ago": "{n} 天前",
    # applications
    "Application": "应用",
    "Serves": "当前版本",
    "nothing yet": "还没有",
    "the environment's own git server": "环境自带的 Git 服务器",
    "new": "新建",
    "queued": "排队中",
    "queued, place {n}": "排队中，第 {n} 位",
    "building": "构建中",
    "deploying": "部署中",
    "No application is declared. To declare one, type:": "还没有声明应用。要声明一个，请输入：",
    # a run
    "All runs": "全部运行",
    "Tasks": "任务",
    "Log": "日志",
    "Parameters": "参数",
    "Results": "结果",
    "Events": "事件",
    "Object": "对象",
    "Reason": "原因",
    "Message": "消息",
    "Rerun": "重新运行",
    "Cancel run": "取消运行",
    "Why it failed": "失败原因",
    "Why it ended": "结束原因",
    "Show in the log": "在日志中查看",
    "There is no run {name}.": "没有名为 {name} 的运行。",
    "It may have been deleted: old runs are.": "它可能已被删除：旧的运行会被删除。",
    "It was cancelled.": "已被取消。",
    "Run {name} came after it, and took its place.": "被之后的运行 {name} 取代。",
    "It took longer than a run may take.": "超过了运行的时限。",
    " It was in task {task}.": "当时在任务 {task} 中。",
    "Task {task} took longer than it may.": "任务 {task} 超过了时限。",
    "Task {task} could not be run: {why}": "任务 {task} 无法运行：{why}",
    "Task {task} failed: its step {step} ended with exit {code}": "任务 {task} 失败：步骤 {step} 的退出码为 {code}",
    "it needed more memory than it may have": "所需内存超过限制",
    "the program could not be started": "程序无法启动",
    "the program was not found": "找不到程序",
    "it was interrupted": "被中断",
    "it was killed, most often because it needed more memory than it may have": "被强制终止，多半因为所需内存超过限制",
    "it crashed": "程序崩溃",
    "it was told to stop": "被要求停止",
    "Search the log": "搜索日志",
    "{n} of {all}": "第 {n} 处，共 {all} 处",
    "no match": "无匹配",
    "Next match": "下一处",
    "Previous match": "上一处",
    "Follow": "跟随",
    "{n} new lines, follow": "{n} 行新输出，跟随",
    "Go to line": "跳到行",
    "First lines": "最前的行",
    "Last lines": "最后的行",
    "This step printed nothing.": "这个步骤没有输出。",
    "Earlier lines": "较早的行",
    "Later lines": "较晚的行",
    "lines {first}–{last} of {n}": "第 {first}–{last} 行，共 {n} 行",
    "{n} older lines are gone": "更早的 {n} 行已丢弃",
    "No line yet.": "还没有输出。",
    "The log ended: {why}": "日志中断：{why}",
    "No step has started yet.": "还没有步骤开始。",
    "none": "无",
    "Copy": "复制",
    "Copied": "已复制",
    # actions
    "Run {name} was started.": "已启动运行 {name}。",
    "Run {name} is being cancelled.": "正在取消运行 {name}。",
    "Cancel run {name}?": "取消运行 {name}？",
    "What it has deployed already stays. Its notification is still sent.": "已经部署的版本会保留，通知仍会发送。",
    "Keep it": "不取消",
    "Back": "返回",
    "Roll back": "回滚",
    "Roll back {name}?": "回滚 {name}？",
    "{name} goes back to {digest} (commit {commit}), one pod after the other; nobody is cut off.": "{name} 将回滚到 {digest}（提交 {commit}）。Pod 逐个替换，服务不中断。",
    "{name} goes back to {digest}.": "{name} 正在回滚到 {digest}。",
    "A branch, a tag, or a commit in full.": "分支、标签或完整的提交号。",
    "Address of the repository, without credentials.": "仓库地址，不含凭据。",
    "Repository to push to, without a tag.": "要推送到的镜像仓库，不含标签。",
    "Of the Deployment.": "部署目标中 Deployment 的值。",
    "The container whose image is set.": "要设置镜像的容器。",
    "The Dockerfile, as seen from CONTEXT or from the repository.": "Dockerfile 的路径，相对于 CONTEXT 或仓库。",
    "Directory of the repository that the build sees.": "构建可见的仓库目录。",
    "Stage of the Dockerfile that becomes the image; empty for the last one.": "作为镜像的 Dockerfile 阶段；留空则为最后一个。",
    "Build arguments as in a URL (A=1&B=two%20words); they can be read in the image.": "构建参数，写法同 URL（A=1&B=two%20words）；在镜像中可以读到。",
    "How long the rollout may take, before the last good image is set again.": "滚动更新的时限，超过后恢复上一个正常的镜像。",
    "Secret that says who hears how the run ended.": "指定运行结束时通知谁的 Secret。",
    "Where the program listens; with it, a Deployment that is missing is made, with a Service.": "程序监听的端口；填写后，缺少的 Deployment 会连同 Service 一起创建。",
    # deployment
    "serving": "服务中",
    "rolling out": "滚动更新中",
    "stuck": "滚动更新受阻",
    "Nothing is deployed yet.": "还没有部署任何版本。",
    "The first run that succeeds deploys it.": "第一次成功的运行会部署它。",
    "Version": "版本",
    "Digest": "摘要",
    "Since": "开始时间",
    "Pods": "Pod",
    "Pod": "Pod",
    "Node": "节点",
    "Restarts": "重启次数",
    "History": "历史",
    "How": "方式",
    "by a run": "运行部署",
    "rolled back": "回滚",
    "undone, the next one failed": "撤销：后一版本失败",
    "by {who}": "操作者：{who}",
    "now": "当前",
    "{n} of {all} pods ready": "{all} 个 Pod 中 {n} 个就绪",
    "{n} of {all} pods are new": "{all} 个 Pod 中 {n} 个为新版本",
    "/version does not answer": "/version 没有应答",
    "unknown commit": "未知提交",
    # webhooks and polls
    "Webhook deliveries": "Webhook 投递",
    "Outcome": "处理结果",
    "Repository": "仓库",
    "Event": "事件",
    "No delivery yet. Push a commit, or try: invoke webhook --test": "还没有投递。请推送提交，或执行 invoke webhook --test",
    "{n} without an id, the last: {text}": "{n} 次没有编号，最近一次：{text}",
    "Polls": "轮询",
    "polled every {n} min": "每 {n} 分钟轮询一次",
    "polled only by hand: invoke poll": "仅手动轮询：invoke poll",
    "Branches known": "已知分支",
    "not polled yet": "尚未轮询",
    "Last answer": "最近一次应答",
    "Refresh": "刷新",
    "read {ago}": "读取于{ago}",
    "reading…": "读取中…",
    "became a run": "已启动运行",
    "its commit has a run already": "该提交已有运行",
    "became a run, deleted since": "已启动运行，后被删除",
    "refused": "被拒绝",
    "under way": "处理中",
    "dropped at {gate}": "被 {gate} 丢弃",
    "wrong signature": "签名不对",
    "no push to a branch": "不是向分支的推送",
    "nothing to build": "没有可构建的内容",
    "branch not watched": "分支未被监视",
    "event that starts nothing": "不会启动运行的事件",
    "not delivered": "未送达",
    # environment
    "Next": "下一步",
    "Steps": "步骤",
    "Step": "步骤",
    "Why": "原因",
    "Addresses": "地址",
    "The last up": "最近一次 up",
    "{when}, {length} in all": "{when}，共 {length}",
    "No up was recorded yet.": "还没有 up 的记录。",
    "Images": "镜像",
    "{n} images, supply {supply}": "{n} 个镜像，来源 {supply}",
    "Size": "大小",
    "Resources": "资源",
    "CPU": "CPU",
    "Memory": "内存",
    "used": "已用",
    "requests": "请求",
    "limits": "限制",
    "Doctor": "诊断",
    "Nothing to warn of.": "没有警告。",
    "Finding": "发现",
    "Action": "操作",
    "Also called": "别名",
    "Fix": "解决办法",
    "every step is ready": "所有步骤就绪",
    "{n} of {all} steps are ready": "{all} 个步骤中 {n} 个就绪",
    # while the cluster does not answer
    "The cluster does not answer; what is shown is what was last seen.": "集群没有应答；显示的是最后看到的内容。",
    "It is asked again by itself.": "正在自动重试。",
    "Reading the cluster…": "正在读取集群…",
}


EN: Mapping[str, str] = {"TimedOut": "Timed out"}
"""English texts that differ from their keys."""


@dataclass(frozen=True)
class Translator:
    """Translates the texts of the pages into one language, "en" or "zh".

    It is called with an English text, and the values of its placeholders by name. A text without a translation, such as
    one that comes from the cluster, stays as it is.
    """

    language: str = ENGLISH

    def __call__(self, text: str, /, **values: object) -> str:
        translated = (ZH if self.language == CHINESE else EN).get(text, text)
        return translated.format(**values) if values else translated

    def translate_message(self, text: str) -> str:
        """A finished English sentence of another part of the program; as it is if there is no translation."""
        return translate_message(text) if self.language == CHINESE else text


def choose_language(accepted: str) -> str:
    """The language that a browser prefers. accepted: its header Accept-Language; English if that names none of ours."""
    weighed = []
    for number, part in enumerate(accepted.split(",")):
        tag, _, weight = part.partition(";q=")
        try:
            weighed.append((-float(weight or 1), number, tag.strip().lower()[:2]))
        except ValueError:
            continue
    return next((tag for _, _, tag in sorted(weighed) if tag in LANGUAGES), ENGLISH)
