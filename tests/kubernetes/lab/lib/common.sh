# shellcheck shell=bash
# What all parts of the lab use: messages, waiting, and parts that run in the background.

say() { echo "kubelab: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

# Debian packages that are missing, one a line. Go is for what was not built yet.
missing_packages() {
  local pair
  for pair in containerd:containerd runc:runc buildah:buildah debootstrap:debootstrap etcd:etcd-server \
    nft:nftables conntrack:conntrack ip:iproute2 curl:curl openssl:openssl gcc:gcc nsenter:util-linux; do
    command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
  done
  [ -x /usr/lib/cni/bridge ] || echo containernetworking-plugins
  [ -e /usr/include/unistd.h ] || echo libc6-dev
  command -v go >/dev/null || are_programs_built || echo golang-go
}

need_all() {
  local missing
  missing=$(missing_packages | tr '\n' ' ')
  [ -z "$missing" ] || fail "packages are missing; to get them: apt-get install ${missing% }"
}

# wait_for SECONDS COMMAND…: until the command succeeds.
wait_for() {
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $until ]; then
      say "gave up waiting for: $*"
      return 1
    fi
    sleep 0.2
  done
}

kubeconfig() { echo "$STATE/kubeconfig/$1"; }
kubectl_admin() { "$KUBECTL" --kubeconfig "$(kubeconfig admin)" "$@"; }
nodes() { find "$STATE" -maxdepth 1 -name 'node-*' -printf '%f\n' 2>/dev/null | sed 's/^node-//' | sort -n; }
enter() { nsenter --net="/run/netns/$1" "${@:2}"; } # `ip netns exec` would hide the cgroups

# A part is a program in the background. parts/NAME is the script that starts it, pids/NAME its process.
make_part() { # make_part NAME NAMESPACE COMMAND…
  local name=$1 namespace=$2
  shift 2
  printf '#!/bin/bash\nexec nsenter --net=/run/netns/%q %s\n' "$namespace" "$(printf '%q ' "$@")" \
    >"$STATE/parts/$name"
  start_part "$name"
}

start_part() {
  [ -e "$STATE/parts/$1" ] || fail "there is no part '$1'; 'kubelab parts' names them"
  is_running "$1" && return
  # The lock is not for the part, which would hold it for as long as it lives.
  setsid bash "$STATE/parts/$1" >>"$STATE/logs/$1.log" 2>&1 </dev/null {lock}>&- &
  echo $! >"$STATE/pids/$1"
}

is_running() { # a number that now belongs to another program does not count
  local pid
  pid=$(cat "$STATE/pids/$1" 2>/dev/null) && grep -qs "$STATE" "/proc/$pid/cmdline"
}

stop_part() {
  [ -e "$STATE/parts/$1" ] || fail "there is no part '$1'; 'kubelab parts' names them"
  is_running "$1" || return 0
  local pid
  pid=$(cat "$STATE/pids/$1")
  kill "$pid"
  if ! wait_for 10 is_gone "$pid"; then
    say "$1 did not end by itself"
    kill -KILL "$pid"
    wait_for 5 is_gone "$pid"
  fi
}

kill_part() { # when nothing that it holds is wanted any more
  ! is_running "$1" || kill -KILL "$(cat "$STATE/pids/$1")"
}

is_gone() { # a zombie has ended; who started it may never ask for it
  [ ! -e "/proc/$1" ] || grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"
}

parts() { find "$STATE/parts" -type f -printf '%f\n' 2>/dev/null | sort; }

list_parts() {
  [ -d "$STATE" ] || fail "no cluster is up"
  local part
  for part in $(parts); do
    printf '%-22s %s\n' "$part" "$(is_running "$part" && echo running || echo stopped)"
  done
}

explain_failure() {
  trap - ERR
  say "the cluster did not come up; the ends of the logs in $STATE/logs:"
  tail -n 5 "$STATE"/logs/*.log >&2 || true
  say "'kubelab down' removes what is left"
}
