"""The columns of a server list: one table for the sheet we hand out and the sheet we read."""

from __future__ import annotations

from dataclasses import dataclass

MAX_ROWS = 2000
MAX_BYTES = 5_000_000

SERVER_SHEET = "服务器"


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `key` is the field of `ServerRow`, `title` what people read and write."""

    key: str
    title: str
    hint: str
    aliases: tuple[str, ...]
    longest: int
    required: bool = False
    width: int = 14


COLUMNS = (
    Column(
        "name",
        "名称",
        "必填，每台不同，例如 web-01",
        ("服务器名称", "服务器名", "服务器", "主机名", "主机名称", "name", "hostname", "server"),
        64,
        required=True,
        width=18,
    ),
    Column(
        "host",
        "地址",
        "必填，IP 或域名，也可写成 用户@地址:端口",
        (
            "ip",
            "ip地址",
            "主机",
            "主机地址",
            "服务器地址",
            "域名",
            "host",
            "address",
            "ipaddress",
            "addr",
        ),
        300,
        required=True,
        width=24,
    ),
    Column("port", "端口", "SSH 端口，留空为 22", ("ssh端口", "port", "sshport"), 16, width=8),
    Column(
        "user",
        "用户",
        "SSH 用户，留空为 root",
        ("用户名", "登录用户", "ssh用户", "账号", "user", "username", "login", "sshuser"),
        32,
    ),
    Column(
        "os",
        "操作系统",
        "例如 Ubuntu 22.04",
        ("系统", "系统版本", "os", "operatingsystem", "system"),
        128,
        width=20,
    ),
    Column("cpu", "CPU", "核数，整数", ("cpu核数", "核数", "cores", "cpus", "vcpu"), 16, width=8),
    Column(
        "memory_gb",
        "内存",
        "单位 GB",
        ("内存gb", "内存大小", "memory", "memorygb", "mem", "ram", "ramgb"),
        24,
        width=10,
    ),
    Column(
        "disk_gb",
        "磁盘",
        "单位 GB",
        ("磁盘gb", "硬盘", "硬盘gb", "磁盘大小", "disk", "diskgb", "storage"),
        24,
        width=10,
    ),
    Column(
        "location",
        "位置",
        "云厂商和地域、自建机房",
        ("所在地", "机房", "云厂商", "服务器位置", "location", "region", "site"),
        128,
        width=20,
    ),
    Column(
        "bastion",
        "跳板机",
        "不需要则留空，否则写 用户@地址:端口",
        ("堡垒机", "bastion", "jump", "jumphost", "proxyjump", "via"),
        300,
        width=26,
    ),
)

SECRET_COLUMNS = (
    Column("password", "密码", "", ("登录密码", "ssh密码", "password", "passwd", "pass"), 256),
    Column(
        "sudo_password", "sudo密码", "", ("提权密码", "sudopassword", "sudopasswd", "sudopass"), 256
    ),
)
"""Understood when somebody sends them, yet absent from the sheet that we hand out: passwords
are handed over by one-time link, never in a group."""

REMARKS = frozenset(
    {"备注", "说明", "序号", "编号", "note", "notes", "remark", "remarks", "no", "id"}
)
"""Columns that people add for themselves; they are passed over."""
