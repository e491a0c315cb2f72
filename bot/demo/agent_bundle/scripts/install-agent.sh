#!/bin/sh
# The demo's own agent installer. Flags and exit codes as the upstream's; it refuses to run
# outside of a sandbox host, so that it can never touch the machine itself.
set -eu

server='' token='' name='' display='' interval=15 upgrade=0 uninstall=0
die() { echo "[ERROR] $1" >&2; exit 1; }
say() { echo "[INFO] $1"; }
need() { [ "$1" -ge 2 ] || die "缺少参数值: $2"; }
while [ $# -gt 0 ]; do
    case "$1" in
    --server | -s) need $# "$1"; server=$2; shift 2 ;;
    --token | -t) need $# "$1"; token=$2; shift 2 ;;
    --hostname | -n) need $# "$1"; name=$2; shift 2 ;;
    --display-name) need $# "$1"; display=$2; shift 2 ;;
    --interval | -i) need $# "$1"; interval=$2; shift 2 ;;
    --no-db) shift ;;
    --upgrade) upgrade=1; shift ;;
    --uninstall) uninstall=1; shift ;;
    --help | -h) echo "install-agent.sh --server URL --token TOKEN [--hostname NAME] [--upgrade]"; exit 0 ;;
    *) die "未知参数: $1" ;;
    esac
done
[ -n "${VIGIL_HOST_ROOT:-}" ] || die "this installer works on sandbox hosts only (VIGIL_HOST_ROOT is not set)"
root=$VIGIL_HOST_ROOT
home=$root/opt/vigilops-agent
config=$root/etc/vigilops/agent.yaml
unit=$root/etc/systemd/system/vigilops-agent.service

if [ $uninstall = 1 ]; then
    systemctl disable --now vigilops-agent || true
    rm -rf "$home" "$unit"
    say "uninstalled"
    exit 0
fi
[ "$(id -u)" = 0 ] || die "请使用 root 用户运行此脚本"
if [ $upgrade = 1 ]; then
    [ -d "$home" ] || die "未找到已安装的 Agent: /opt/vigilops-agent"
else
    [ -n "$server" ] || die "缺少 --server 参数"
    [ -n "$token" ] || die "缺少 --token 参数"
fi
here=$(cd "$(dirname "$0")" && pwd)
source=''
for place in "$here/../agent" "$here/agent" ./agent ../agent; do
    if [ -f "$place/pyproject.toml" ] && grep -q vigilops-agent "$place/pyproject.toml"; then
        source=$place
        break
    fi
done
[ -n "$source" ] || die "未找到 agent 目录"
python=$(command -v python3) || die "未找到 Python 3.11+"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "需要 Python >= 3.11"
[ -n "$name" ] || name=$(hostname)
[ -n "$display" ] || display=$name

mkdir -p "$home" "$root/etc/vigilops" "$root/etc/systemd/system" "$root/var/log"
cp -R "$source/." "$home/" || die "复制 agent 失败"
"$python" "$home/vigilops_agent" --version || die "Agent 验证失败"

quote() { printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g'; }
if [ $upgrade = 0 ] || [ ! -f "$config" ]; then
    (
        umask 077
        rm -f "$config"
        cat >"$config" <<YAML
server:
  url: "$(quote "$server")"
  token: "$(quote "$token")"
host:
  name: "$(quote "$name")"
  display_name: "$(quote "$display")"
  tags: []
metrics:
  interval: "${interval}s"
YAML
    )
    chmod 600 "$config"
fi
cat >"$unit" <<UNIT
[Unit]
Description=VigilOps Agent (sandbox)

[Service]
ExecStart=$python $home/vigilops_agent -c $config run
Restart=always

[Install]
WantedBy=multi-user.target
UNIT
mode=install
[ $upgrade = 0 ] || mode=upgrade
printf '%s %s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" $mode "$name" >>"$root/var/log/installs.log"
systemctl daemon-reload
systemctl enable vigilops-agent
systemctl restart vigilops-agent
if systemctl is-active --quiet vigilops-agent; then
    say "vigilops-agent is running"
else
    echo "[WARN] vigilops-agent is not running" >&2
fi
say "done"
