# shellcheck shell=bash
# A node: containerd with every image at hand, kubelet, kube-proxy. Each is a zone of its own.

start_node() {
  local i=$1 directory=$STATE/node-$1 archive
  mkdir -p "$directory"/{cni,kubelet} "$RUN/$i"
  write_containerd "$i" "$directory"
  write_cni "$i" "$directory"
  write_kubelet "$i" "$directory"
  write_proxy "$i" "$directory"
  make_cgroups "$i"

  make_part "containerd-$i" "kl-$i" containerd --config "$directory/containerd.toml"
  wait_for 30 ctr_on "$i" version
  for archive in "$IMAGES"/*.tar; do load_image "$i" "$archive"; done
  make_part "kubelet-$i" "kl-$i" "$BIN/kubelet" --kubeconfig="$(kubeconfig "node-$i")" \
    --config="$directory/kubelet.yaml" --root-dir="$directory/kubelet" --hostname-override="lab-$i" \
    --node-ip="$(address_of "$i")" --node-labels="topology.kubernetes.io/zone=zone-$i"
  make_part "proxy-$i" "kl-$i" "$BIN/kube-proxy" --config="$directory/proxy.yaml"
}

ctr_on() { ctr --address "$RUN/$1/containerd.sock" --namespace k8s.io "${@:2}"; }

enter_pod() { # enter_pod NODE CONTAINER COMMAND…: in its network alone; files and programs are this machine's
  local pid
  pid=$(ctr_on "$1" tasks list | awk -v container="$2" '$1 == container {print $2}')
  [ -n "$pid" ] || fail "no container '$2' runs on node $1"
  exec nsenter --target "$pid" --net "${@:3}"
}

write_containerd() {
  # Inside a container nobody may lower oom_score_adj, and runc says so as "can't get final child's PID".
  cat >"$2/containerd.toml" <<TOML
version = 2
root = "$2/containerd"
state = "$RUN/$1/containerd"
[grpc]
  address = "$RUN/$1/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$2/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$2/cni"
TOML
}

write_cni() {
  cat >"$2/cni/10-lab.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "lab", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$RUN/$1/ipam",
            "ranges": [[{"subnet": "$(pods_of "$1")"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
}

write_kubelet() {
  cat >"$2/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $STATE/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $STATE/pki/node-$1.crt
tlsPrivateKeyFile: $STATE/pki/node-$1.key
containerRuntimeEndpoint: unix://$RUN/$1/containerd.sock
cgroupDriver: cgroupfs
podLogsDir: $STATE/node-$1/logs
cgroupRoot: /kubelab-$1
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
clusterDNS: [$DNS]
clusterDomain: cluster.local
resolvConf: ""
evictionHard: {memory.available: 100Mi, nodefs.available: "1%", imagefs.available: "1%"}
maxPods: 110
syncFrequency: 5s
YAML
}

write_proxy() {
  cat >"$2/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $(kubeconfig proxy)}
mode: nftables
hostnameOverride: lab-$1
clusterCIDR: $PODS
conntrack: {maxPerCore: 0, min: 0}
YAML
}

cgroups_of() { # both kinds of hierarchy: one directory, or one for each controller
  local directory
  for directory in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    [ ! -e "$directory/cgroup.procs" ] || echo "${directory%/}/kubelab-$1"
  done
}

make_cgroups() {
  local group file
  for group in $(cgroups_of "$1"); do
    mkdir -p "$group" 2>/dev/null || continue
    for file in cpuset.cpus cpuset.mems; do # empty in a new one, and then nothing may run there
      [ ! -e "$group/$file" ] || [ -n "$(cat "$group/$file")" ] || cat "$group/../$file" >"$group/$file"
    done
  done
}

# All that runs in the node's cgroups, and the shims that watched it, whether or not containerd answers.
end_containers() {
  local group pid
  for group in $(cgroups_of "$1"); do
    [ -d "$group" ] || continue
    find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null
  done | sort -u | while read -r pid; do kill -KILL "$pid" 2>/dev/null || true; done
  for pid in $(pgrep --full "^[^ ]*containerd-shim.* $RUN/$1/" || true); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  for group in $(cgroups_of "$1"); do
    [ ! -d "$group" ] || wait_for 5 remove_cgroup "$group" || true
  done
}

remove_cgroup() { find "$1" -depth -type d -exec rmdir {} +; }

unmount_below() { # unmount_below DIRECTORY
  awk -v below="$1/" 'index($2, below) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount --lazy
}
