"""What a fresh VigilOps has and which columns it shows."""

from __future__ import annotations

from typing import Final

FIGURES: Final = (
    "cpu_percent",
    "cpu_load_1",
    "cpu_load_5",
    "cpu_load_15",
    "memory_used_mb",
    "memory_percent",
    "disk_used_mb",
    "disk_total_mb",
    "disk_percent",
    "net_bytes_sent",
    "net_bytes_recv",
    "net_send_rate_kb",
    "net_recv_rate_kb",
    "net_packet_loss_rate",
    "agent_cpu_percent",
    "agent_memory_rss_mb",
    "agent_thread_count",
    "agent_uptime_seconds",
    "agent_open_files",
)
HOST: Final = (
    "hostname",
    "display_name",
    "ip_address",
    "private_ip",
    "public_ip",
    "network_info",
    "os",
    "os_version",
    "arch",
    "cpu_cores",
    "memory_total_mb",
    "agent_version",
    "tags",
    "group_name",
)
RETENTION: Final = {
    "host_metrics": 30,
    "db_metrics": 30,
    "log_entries": 7,
    "ai_insights": 90,
    "audit_logs": 365,
}
# name, name_en, description, severity, metric, operator, threshold, duration, target
BUILT_IN: Final = (
    (
        "CPU 使用率过高",
        "High CPU Usage",
        "CPU 使用率超过阈值持续一段时间",
        "warning",
        "cpu_percent",
        ">",
        90.0,
        300,
        "host",
    ),
    (
        "内存使用率过高",
        "High Memory Usage",
        "内存使用率超过阈值",
        "warning",
        "memory_percent",
        ">",
        90.0,
        300,
        "host",
    ),
    (
        "磁盘使用率过高",
        "High Disk Usage",
        "磁盘使用率超过阈值",
        "critical",
        "disk_percent",
        ">",
        95.0,
        0,
        "host",
    ),
    ("主机离线", "Host Offline", "主机心跳丢失", "critical", "host_offline", "==", 1.0, 0, "host"),
    (
        "服务不可用",
        "Service Unavailable",
        "服务健康检查失败",
        "critical",
        "service_down",
        "==",
        1.0,
        0,
        "service",
    ),
)
