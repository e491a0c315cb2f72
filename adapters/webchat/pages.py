"""The pages: every text goes out as a text node, so that HTML and Markdown in it do nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from nicegui import context, ui
from nicegui.events import UploadEventArguments

from adapters.card import (
    SIGNS,
    Block,
    Button,
    Buttons,
    Card,
    Checklist,
    Entry,
    Fields,
    Form,
    Input,
    Item,
    Mark,
    Mention,
    Progress,
    Style,
    Table,
    Text,
    Tone,
)
from adapters.chart import Chart
from adapters.port import UsageError
from adapters.webchat import charts
from adapters.webchat.link import MAX_FILE_BYTES, WebChat
from adapters.webchat.wire import Post
from adapters.words import Chat, File, Person

SHOWN = 200
"""Posts of a chat that a page shows; older ones stay in the store."""

_KILOBYTE = 1_000
_MEGABYTE = 1_000_000

Viewer = Callable[[Request], Person | None]

_MARKS = {
    Mark.TODO: ("radio_button_unchecked", "grey-5", "待办"),
    Mark.DOING: ("autorenew", "primary", "进行中"),
    Mark.DONE: ("check_circle", "positive", "完成"),
    Mark.SKIPPED: ("skip_next", "grey-6", "已跳过"),
    Mark.WAITING: ("hourglass_empty", "orange-8", "等待"),
    Mark.FAILED: ("cancel", "negative", "失败"),
}
"""Icon, colour and word of each mark: icons are served by us, emoji need a font of the reader's."""

_SIGN = re.compile(f"^({'|'.join(SIGNS.values())}) ?")
"""What a cell may begin with; the word behind it says the same in every font."""

_SHORT = 14
"""Characters of a cell that is never broken: a time, a state, a name."""

_QUIET = frozenset({Mark.TODO, Mark.DONE, Mark.SKIPPED})
"""Marks of a phase in which nothing happens: it is folded to one line."""

_ENTER_SENDS = """(e) => {
    if (e.isComposing || e.shiftKey) return;
    e.preventDefault();
    emit();
}"""


def mount(
    app: FastAPI,
    webchat: WebChat,
    *,
    people: Sequence[Person] = (),
    viewer: Viewer | None = None,
    zone: tzinfo | None = None,
    path: str = "/chat",
    attach: bool = True,
) -> None:
    """Show `webchat` at `path`. Call it after every other route of `app`: NiceGUI takes the rest.

    With `people` everybody who opens the page may be any of them (the demo); otherwise `viewer`
    tells who a request comes from, and None is sent to /login. Times are shown in `zone`, or in
    the machine's own. `attach=False` when NiceGUI was already put on the app by `ui.run_with`.
    """
    cast = tuple(people)

    def who(request: Request) -> Person | None:
        if cast:
            wanted = request.query_params.get("who", "")
            return next((person for person in cast if person.id == wanted), cast[0])
        return viewer(request) if viewer else None

    @app.get(f"{path}/files/{{file_id}}")
    async def download(file_id: str, request: Request) -> Response:
        seers = cast or tuple(person for person in [who(request)] if person)
        found = (webchat.content(file_id, person) for person in seers)
        file = next((one for one in found if one), None)
        if file is None:
            return Response("没有这个文件", status_code=404)
        return Response(
            file.content,
            media_type="application/octet-stream",
            headers={
                "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
                "X-Content-Type-Options": "nosniff",
            },
        )

    @ui.page(path, title=f"{webchat.bot} 网页聊天", language="zh-CN")
    async def page(request: Request) -> Response | None:
        person = who(request)
        if person is None:
            return RedirectResponse("/login")
        await webchat.direct(person)
        _Page(webchat, person, cast, path, zone).draw(request.query_params.get("chat", ""))
        return None

    if attach:
        ui.run_with(app, title=webchat.bot, language="zh-CN", show_welcome_message=False)


@dataclass
class _Drawn:
    """A post on the page: what its blocks were drawn from, so that an edit redraws the changed."""

    post: Post
    head: ui.label | None = None
    body: ui.element | None = None
    stamp: ui.label | None = None
    blocks: list[tuple[Block, ui.element]] = field(default_factory=list)
    turned: dict[str, bool] = field(default_factory=dict)
    """Phases that the reader has opened (True) or folded, by title: a redrawing keeps them so."""


@dataclass(frozen=True)
class _Row:
    """A chat in the list at the left."""

    row: ui.element
    title: ui.label
    last: ui.label


class _Page:
    """One open page: one person, one chat at a time."""

    def __init__(
        self,
        webchat: WebChat,
        person: Person,
        people: tuple[Person, ...],
        path: str,
        zone: tzinfo | None,
    ) -> None:
        self._web = webchat
        self._me = person
        self._people = people
        self._path = path
        self._zone = zone
        self._chat: Chat | None = None
        self._fresh: set[str] = set()
        self._drawn: dict[str, _Drawn] = {}
        self._rows: dict[str, _Row] = {}

    def draw(self, wanted: str) -> None:
        ui.colors(primary="#3157d5", positive="#178a4e", negative="#cf3326")
        ui.add_css(Path(__file__).with_name("style.css").read_text(encoding="utf-8"))
        with _box("vb-app"):
            with _box("vb-side"):
                ui.label(self._web.bot).classes("vb-brand")
                ui.label("从签约到验收，一个群搞定").classes("vb-brand-note")
                self._list = _box("vb-chats")
                with _box("vb-who"):
                    self._draw_who()
            with _box("vb-main"):
                with _box("vb-head"):
                    with _box("vb-head-names"):
                        self._title = ui.label().classes("vb-head-title")
                        self._note = ui.label().classes("vb-head-note")
                    self._jump = ui.button("去处理", icon="touch_app", on_click=self._jump_to)
                    self._jump.props("unelevated no-caps dense color=orange-9").classes("px-3")
                self._posts = _box("vb-posts")
                with _box("vb-input"):
                    self._draw_input()
        chats = self._web.chats(self._me)
        groups = [chat for chat in chats if not self._web.is_direct(chat)]
        named = [chat for chat in chats if chat.id == wanted]
        self._open((named or groups[-1:] or list(chats))[0])
        client = context.client

        def changed(post: Post | None) -> None:
            with client:
                self._changed(post)

        client.on_delete(self._web.watch(changed))

    def _draw_who(self) -> None:
        if not self._people:
            ui.label(self._me.name or self._me.id)
            return
        ui.select(
            {person.id: person.name or person.id for person in self._people},
            value=self._me.id,
            label="当前身份（演示）",
            on_change=lambda event: self._become(str(event.value)),
        ).props("dark outlined dense").classes("w-full")

    def _become(self, person_id: str) -> None:
        ui.navigate.to(self._address(person_id))

    def _address(self, person_id: str) -> str:
        """Return where the open chat is as this person sees it."""
        chat = quote(self._chat.id, safe="") if self._chat else ""
        return f"{self._path}?who={quote(person_id, safe='')}&chat={chat}"

    def _draw_input(self) -> None:
        files: list[File] = []
        tray = _box("vb-files")
        with _box("vb-input-row"):
            pick = _picker(files, tray)
            ui.button(icon="attach_file", on_click=pick).props(
                'flat round color=grey-7 aria-label="添加文件"'
            )
            line = ui.textarea(
                placeholder="输入消息或命令，例如 /help；Enter 发送，Shift+Enter 换行"
            )
            line.props('outlined dense autogrow rows=1 aria-label="消息"')

            async def send() -> None:
                if self._chat is None:
                    return
                try:
                    await self._web.say(self._me, self._chat, line.value or "", tuple(files))
                except UsageError as problem:
                    _warn(problem)
                    return
                line.value = ""
                files.clear()
                tray.clear()

            line.on("keydown.enter", send, js_handler=_ENTER_SENDS)
            ui.button("发送", on_click=send).props("unelevated color=primary")

    # -- the list and the open chat ---------------------------------------------------------

    def _draw_list(self) -> None:
        """Draw the chats, each row in its place: a row drawn anew would lose a click on the old."""
        for at, chat in enumerate(self._web.chats(self._me)):
            line = self._rows.get(chat.id) or self._add_row(chat)
            on = " on" if chat == self._chat else ""
            new = " new" if chat.id in self._fresh else ""
            line.row.classes(replace=f"vb-chat{on}{new}")
            line.title.text = chat.title or chat.id
            line.last.text = _last(self._web.history(chat))
            if self._list.default_slot.children.index(line.row) != at:
                line.row.move(self._list, at)

    def _add_row(self, chat: Chat) -> _Row:
        with self._list, ui.element("button") as row:
            line = _Row(
                row, ui.label().classes("vb-chat-title"), ui.label().classes("vb-chat-last")
            )
        row.on("click", lambda: self._enter(chat))
        self._rows[chat.id] = line
        return line

    def _enter(self, chat: Chat) -> None:
        """Open a chat that was chosen; loaded again, also after a lost connection, it is still open."""
        self._open(chat)
        ui.navigate.history.replace(self._address(self._me.id))

    def _open(self, chat: Chat) -> None:
        self._chat = chat
        self._fresh.discard(chat.id)
        self._draw_list()
        self._title.text = chat.title or chat.id
        self._draw_members(chat)
        self._posts.clear()
        self._drawn.clear()
        history = self._web.history(chat)
        with self._posts:
            if not history:
                ui.label("还没有消息。输入 /help 看看能做什么。").classes("vb-empty")
            if len(history) > SHOWN:
                ui.label(f"只显示最近 {SHOWN} 条消息").classes("vb-head-note self-center")
        for post in history[-SHOWN:]:
            self._draw_post(post)
        self._scroll()

    def _draw_members(self, chat: Chat) -> None:
        names = "、".join(person.name or person.id for person in self._web.members(chat))
        self._note.text = f"{names}、{self._web.bot}"

    def _changed(self, post: Post | None) -> None:
        if post is None:
            self._draw_list()
            if self._chat:
                self._draw_members(self._chat)
            return
        if self._me not in self._web.members(post.chat):
            return
        if post.chat != self._chat:
            self._fresh.add(post.chat.id)
            self._draw_list()
            return
        drawn = self._drawn.get(post.id)
        if drawn:
            waited = _waits(drawn.post)
            self._redraw(drawn, post)
            self._show_jump()
            if _waits(post) and not waited:
                self._scroll()
            return
        if post.edited:
            return
        if not self._drawn:
            self._posts.clear()
        self._draw_post(post)
        self._draw_list()
        # What is new and bad is what one must see now; 去处理 leads back to what waits.
        self._scroll(to_end=post.card is not None and post.card.tone is Tone.BAD)

    def _waiting(self) -> _Drawn | None:
        """Return the newest card that waits for somebody."""
        return next((one for one in reversed(self._drawn.values()) if _waits(one.post)), None)

    def _show_jump(self) -> None:
        self._jump.set_visibility(self._waiting() is not None)

    def _jump_to(self) -> None:
        self._scroll()

    def _scroll(self, *, to_end: bool = False) -> None:
        """Show the end of the card that waits for somebody, where its buttons are; else the end."""
        self._show_jump()
        waiting = None if to_end else self._waiting()
        if waiting and waiting.body:
            place, act = waiting.body.id, "e.scrollIntoView({block: 'end'})"
        else:
            place, act = self._posts.id, "e.scrollTop = e.scrollHeight"
        ui.run_javascript(
            f"setTimeout(() => {{ const e = getHtmlElement({place}); if (e) {act}; }}, 60)"
        )

    # -- a post -----------------------------------------------------------------------------

    def _draw_post(self, post: Post) -> None:
        mine = " mine" if post.sender == self._me else ""
        urgent = " urgent" if post.urgent else ""
        drawn = _Drawn(post)
        self._drawn[post.id] = drawn
        with self._posts, _box(f"vb-post{mine}{urgent}"):
            drawn.stamp = ui.label(self._stamp(post)).classes("vb-from")
            if post.text:
                ui.label(post.text).classes("vb-bubble")
            if post.card:
                with _box("vb-card"):
                    drawn.head = ui.label()
                    drawn.body = _box("vb-card-body")
                self._draw_card(drawn, post.card)
            if post.files:
                with _box("vb-files"):
                    for file in post.files:
                        with ui.element("a").classes("vb-file") as link:
                            ui.icon("attach_file")
                            ui.label(file.name)
                            ui.label(_size(file.size)).classes("vb-head-note")
                        target = f"{self._path}/files/{file.id}"
                        link._props.update(href=target, download=file.name)  # noqa: SLF001 -- `props()` parses text, a name may hold quotes

    def _stamp(self, post: Post) -> str:
        sender = (post.sender.name or post.sender.id) if post.sender else self._web.bot
        edited = "　已更新" if post.edited else ""
        urgent = "紧急呼叫　" if post.urgent else ""
        return f"{urgent}{sender}　{post.at.astimezone(self._zone):%m-%d %H:%M}{edited}"

    def _redraw(self, drawn: _Drawn, post: Post) -> None:
        drawn.post = post
        if drawn.stamp:
            drawn.stamp.text = self._stamp(post)
        if post.card:
            self._draw_card(drawn, post.card)

    def _draw_card(self, drawn: _Drawn, card: Card) -> None:
        """Draw what differs from before; a form that stays as it was keeps what is typed in it."""
        if drawn.head is None or drawn.body is None:
            return
        drawn.head.text = card.title
        drawn.head.classes(replace=f"vb-card-head tone-{card.tone.value}")
        for _, spare in drawn.blocks[len(card.blocks) :]:
            spare.delete()
        del drawn.blocks[len(card.blocks) :]
        for at, block in enumerate(card.blocks):
            if at == len(drawn.blocks):
                with drawn.body:
                    drawn.blocks.append((block, _box("vb-block w-full")))
            elif drawn.blocks[at][0] == block:
                continue
            elif _same_inputs(drawn.blocks[at][0], block) or _same_looks(
                drawn.blocks[at][0], block
            ):
                drawn.blocks[at] = (block, drawn.blocks[at][1])
                continue
            else:
                drawn.blocks[at] = (block, drawn.blocks[at][1])
                drawn.blocks[at][1].clear()
            with drawn.blocks[at][1]:
                self._draw_block(drawn, at)

    def _draw_block(self, drawn: _Drawn, at: int) -> None:
        block = drawn.blocks[at][0]
        match block:
            case Checklist():
                _draw_checklist(block, drawn.turned)
            case Buttons(buttons):
                with _box("vb-buttons"):
                    for place, button in enumerate(buttons):
                        self._draw_button(drawn, at, place, button)
            case Form():
                self._draw_form(drawn, at, block)
            case _:
                _draw_read(block)

    def _draw_button(self, drawn: _Drawn, at: int, place: int, button: Button) -> None:
        client, post = context.client, drawn.post

        async def press() -> None:
            # As it stands when it is pressed, not as it may stand once the question is answered.
            block = drawn.blocks[at][0]
            action = block.buttons[place].action if isinstance(block, Buttons) else button.action
            with client:  # an edit may take this button away while its question is open
                if button.confirm and not await _sure(button):
                    return
                try:
                    await self._web.press(self._me, post.chat, post.id, action)
                except UsageError as problem:
                    _warn(problem)

        if not button.url:
            ui.button(button.label, on_click=press).props(_look(button.style))
            return
        link = ui.button(button.label, icon="open_in_new").props(_look(button.style))
        if _is_web(button.url):
            link._props.update(href=button.url, target="_blank", rel="noopener noreferrer")  # noqa: SLF001 -- `props()` parses text, a URL may hold quotes
        else:
            link.disable()

    def _draw_form(self, drawn: _Drawn, at: int, form: Form) -> None:
        files: list[File] = []
        takers: dict[str, Callable[[], str]] = {}
        clearers: list[Callable[[], None]] = []
        with _box("vb-form"):
            for i in form.inputs:
                if i.entry is Entry.FILE:
                    clearers.append(_draw_file_input(i, files))
                else:
                    takers[i.name] = _draw_input(i, clearers)

            async def submit() -> None:
                values = {name: take() for name, take in takers.items()}
                now = drawn.blocks[at][0]
                action = now.action if isinstance(now, Form) else form.action
                post = drawn.post
                try:
                    await self._web.submit(
                        self._me, post.chat, post.id, action, values, files=tuple(files)
                    )
                except UsageError as problem:
                    _warn(problem)
                    return
                ui.notify("已提交", type="positive", position="top")
                for clear in clearers:
                    clear()

            with _box("vb-buttons"):
                card = drawn.post.card
                other = card and any(isinstance(each, Buttons) for each in card.blocks)
                look = Style.PLAIN if other else Style.PRIMARY  # one way forward stands out
                ui.button(form.submit, on_click=submit).props(_look(look))


# -- small things --------------------------------------------------------------------------------


def _box(classes: str) -> ui.element:
    return ui.element("div").classes(classes)


def _same_inputs(before: Block, after: Block) -> bool:
    """Tell whether only the action of a form changed (its version): then what is typed stays."""
    if not isinstance(before, Form) or not isinstance(after, Form):
        return False
    return replace(before, action=after.action) == after


def _same_looks(before: Block, after: Block) -> bool:
    """Tell whether only the actions of buttons changed (their version): then they stay, because a
    press on one that is taken away in that instant would be lost."""
    if not isinstance(before, Buttons) or not isinstance(after, Buttons):
        return False
    looks = [[replace(button, action="") for button in block.buttons] for block in (before, after)]
    return looks[0] == looks[1]


def _draw_read(block: Text | Mention | Fields | Table | Progress | Chart) -> None:
    """Draw what is read alone."""
    match block:
        case Text(text, style):
            ui.label(text).classes(f"vb-text {style.value}")
        case Mention():
            _draw_mention(block)
        case Fields():
            _draw_fields(block)
        case Table():
            _draw_table(block)
        case Progress():
            _draw_progress(block)
        case Chart():
            # Not washed: it is ours, and its texts are text nodes already.
            ui.html(charts.markup(block), sanitize=False).classes("w-full")


def _draw_fields(fields: Fields) -> None:
    with _box("vb-fields"):
        for label, value in fields.pairs:
            ui.label(label).classes("vb-label")
            ui.label(value).classes("vb-value")


def _waits(post: Post) -> bool:
    """Tell whether a card waits for somebody: it warns, and there is something to press."""
    card = post.card
    if card is None or card.tone not in {Tone.WARNING, Tone.BAD}:
        return False
    return any(isinstance(block, Buttons | Form) for block in card.blocks)


def _draw_checklist(checklist: Checklist, turned: dict[str, bool]) -> None:
    """Draw the lines; a phase in which nothing happens is folded, unless the reader opened it."""
    for head, *below in _phases(checklist):
        if head.level or not below:
            for item in (head, *below):
                _draw_item(item)
            continue
        ended = sum(item.mark in {Mark.DONE, Mark.SKIPPED} for item in below)
        told = replace(head, note=f"{head.note}　{ended}/{len(below)}".strip())
        with ui.element("details") as phase:
            phase.props("open" if turned.get(head.title, head.mark not in _QUIET) else "")
            with ui.element("summary") as summary:
                _draw_item(told)
            for item in below:
                _draw_item(item)
        summary.on(
            "click",
            lambda event, title=head.title: turned.update({title: bool(event.args)}),
            js_handler="(e) => emit(!e.currentTarget.parentElement.open)",
        )


def _phases(checklist: Checklist) -> list[list[Item]]:
    """Return the lines by phase, each phase's own line first."""
    phases: list[list[Item]] = []
    for item in checklist.items:
        if item.level == 0 or not phases:
            phases.append([])
        phases[-1].append(item)
    return phases


def _draw_item(item: Item) -> None:
    with _box(f"vb-item l{item.level} {item.mark.value}") as row:
        row.style(f"padding-left: {max(0, item.level) * 20}px")
        icon, colour, word = _MARKS[item.mark]
        ui.icon(icon, color=colour).classes("vb-mark").props(f"role=img aria-label={word}")
        ui.label(item.title).classes("vb-item-title")
        if item.note:
            ui.label(item.note).classes("vb-item-note")


def _draw_table(table: Table) -> None:
    cells = [tuple(_SIGN.sub("", cell) for cell in row) for row in table.rows]
    columns = [
        {"name": f"c{at}", "label": name, "field": f"c{at}", "align": "left"}
        | ({"classes": "vb-short"} if all(len(row[at]) <= _SHORT for row in cells) else {})
        for at, name in enumerate(table.columns)
    ]
    rows = [
        {"id": at, **{f"c{column}": cell for column, cell in enumerate(row)}}
        for at, row in enumerate(cells)
    ]
    ui.table(columns=columns, rows=rows, row_key="id").props(
        'flat dense hide-no-data no-data-label="还没有"'
    ).classes("w-full")


def _draw_mention(mention: Mention) -> None:
    with _box("vb-people"):
        for person in mention.people:
            ui.label(Mention((person,)).text).classes("vb-mention")


def _draw_progress(progress: Progress) -> None:
    share = min(1.0, max(0.0, progress.done / progress.total)) if progress.total else 0.0
    with _box("vb-progress"):
        with _box("vb-bar"):
            _box("vb-bar-fill").style(f"width: {share:.1%}")
        ui.label(f"{progress.done}/{progress.total} {progress.text}".rstrip()).classes(
            "vb-progress-text"
        )


def _draw_input(i: Input, clearers: list[Callable[[], None]]) -> Callable[[], str]:
    """Draw one input and return what reads it."""
    label = f"{i.label} *" if i.required else i.label
    options = dict(i.options)
    match i.entry:
        case Entry.CHOICE:
            choice = ui.select(options, label=label, value=i.value if i.value in options else None)
            _dress(choice.props("outlined dense"), i)
            return lambda: str(choice.value or "")
        case Entry.CHOICES:
            chosen = [one for one in i.value.split(",") if one in options]
            choices = ui.select(options, label=label, value=chosen, multiple=True)
            _dress(choices.props("outlined dense use-chips"), i)
            return lambda: ",".join(one for one in options if one in (choices.value or []))
        case Entry.TEXT:
            area = ui.textarea(label, value=i.value)
            _dress(area.props("outlined dense autogrow"), i)
            return lambda: area.value or ""
        case Entry.SECRET:
            secret = ui.input(label, value=i.value, password=True, password_toggle_button=True)
            _dress(secret.props("outlined dense autocomplete=new-password"), i)
            clearers.append(partial(_empty, secret))
            return lambda: secret.value or ""
        case _:
            line = ui.input(label, value=i.value)
            _dress(line.props("outlined dense"), i)
            if i.entry is Entry.NUMBER:
                line.props("inputmode=decimal")
            if i.entry is Entry.DATE:
                line.props("type=date stack-label")
            return lambda: str(line.value or "").strip()


def _empty(secret: ui.input) -> None:
    secret.value = ""


def _dress(element: ui.element, i: Input) -> None:
    if i.hint:
        element._props.update({"hint": i.hint})  # noqa: SLF001 -- `props()` parses text, a hint may hold quotes


def _draw_file_input(i: Input, files: list[File]) -> Callable[[], None]:
    with _box("vb-files"):
        tray = _box("vb-files")
        pick = _picker(files, tray)
        label = f"选择文件：{i.label}{' *' if i.required else ''}"
        ui.button(label, icon="upload_file", on_click=pick).props("outline color=grey-8 no-caps")
        if i.hint:
            ui.label(i.hint).classes("vb-head-note")

    def clear() -> None:
        files.clear()
        tray.clear()

    return clear


def _picker(files: list[File], tray: ui.element) -> Callable[[], None]:
    """Make a hidden upload that adds to `files` and shows their names in `tray`."""

    async def took(event: UploadEventArguments) -> None:
        file = File(event.file.name, await event.file.read())
        files.append(file)
        upload.reset()
        with tray:
            chip = ui.chip(f"{file.name}（{_size(len(file.content))}）", removable=True)
            chip.on("remove", lambda: files.remove(file))

    upload = ui.upload(
        on_upload=took,
        on_rejected=lambda: ui.notify(
            f"文件太大：最多 {MAX_FILE_BYTES // _MEGABYTE} MB", type="warning", position="top"
        ),
        multiple=True,
        auto_upload=True,
        max_file_size=MAX_FILE_BYTES,
    ).classes("hidden")

    def pick() -> None:
        upload.run_method("pickFiles")

    return pick


async def _sure(button: Button) -> bool:
    with ui.dialog() as dialog, ui.card():
        ui.label(button.confirm).classes("vb-text")
        with _box("vb-buttons self-end"):
            ui.button("取消", on_click=lambda: dialog.submit(False)).props("flat color=grey-7")
            sure = button.label if button.label.startswith("确认") else f"确认{button.label}"
            ui.button(sure, on_click=lambda: dialog.submit(True)).props(
                "unelevated no-caps color="
                + ("negative" if button.style is Style.DANGER else "primary")
            )
    answer = await dialog
    dialog.delete()
    return bool(answer)


def _look(style: Style) -> str:
    match style:
        case Style.PRIMARY:
            return "unelevated no-caps color=primary"
        case Style.DANGER:
            return "unelevated no-caps color=negative"
        case Style.QUIET:
            return "flat no-caps color=grey-7"
        case _:
            return "outline no-caps color=primary"


def _is_web(url: str) -> bool:
    """Tell whether a link may be followed: http, https or a path of this site; no `javascript:`."""
    if url.startswith("/") and not url.startswith("//"):
        return True
    try:
        return urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        return False


def _size(count: int) -> str:
    if count < _KILOBYTE:
        return f"{count} B"
    if count < _MEGABYTE:
        return f"{count / _KILOBYTE:.1f} KB"
    return f"{count / _MEGABYTE:.1f} MB"


def _last(history: tuple[Post, ...]) -> str:
    if not history:
        return "还没有消息"
    last = history[-1]
    names = "、".join(file.name for file in last.files)
    return (last.text or (last.card.title if last.card else "") or f"[文件] {names}")[:60]


def _warn(problem: UsageError) -> None:
    ui.notify(str(problem), type="warning", position="top")
