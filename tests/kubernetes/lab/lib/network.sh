# shellcheck shell=bash
# One bridge in the control plane's namespace joins it, the nodes and this machine. Each node routes a
# range of Pods; service addresses are rewritten on the nodes, by kube-proxy.

make_network() { # make_network NODES
  local i j
  ip netns add kl-cp
  enter kl-cp ip link set lo up
  enter kl-cp ip link add lab0 type bridge
  enter kl-cp ip address add "$API/24" dev lab0
  enter kl-cp ip link set lab0 up
  enter kl-cp sysctl -qw net.ipv4.ip_forward=1

  ip link add kl-host type veth peer name host netns kl-cp
  ip address add "$HOST/24" dev kl-host
  ip link set kl-host up
  enter kl-cp ip link set host master lab0 up
  ip route add "$SERVICES" via "$(address_of 1)" # its kube-proxy answers for all

  for i in $(seq "$1"); do
    join_node "$i"
    for j in kl-cp host; do route_pods "$j" "$i"; done
  done
  for i in $(seq "$1"); do
    for j in $(seq "$1"); do [ "$i" = "$j" ] || route_pods "kl-$i" "$j"; done
  done
}

join_node() {
  local namespace=kl-$1
  ip netns add "$namespace"
  ip link add "node-$1" netns kl-cp type veth peer name eth0 netns "$namespace"
  enter kl-cp ip link set "node-$1" master lab0 up
  enter "$namespace" ip link set lo up
  enter "$namespace" ip address add "$(address_of "$1")/24" dev eth0
  enter "$namespace" ip link set eth0 up
  enter "$namespace" sysctl -qw net.ipv4.ip_forward=1
  enter "$namespace" ip route add default via "$API" # a way for packets that are rewritten on it
}

route_pods() { # route_pods FROM-NAMESPACE NODE
  local command=(ip route add "$(pods_of "$2")" via "$(address_of "$2")")
  if [ "$1" = host ]; then "${command[@]}"; else enter "$1" "${command[@]}"; fi
}

remove_network() {
  local namespace
  ip link delete kl-host 2>/dev/null || true # its routes go with it
  for namespace in /run/netns/kl-*; do
    [ ! -e "$namespace" ] || ip netns delete "$(basename "$namespace")" 2>/dev/null || true
  done
}
