#!/bin/sh
# Called by a DHCP client at each change of its lease. Configures its device and nothing else: the
# machine's name servers, routes and host name are not touched. Then adds the event, with all the
# client knows, to the file of events: what happened, a variable per line, an empty line.
events='@EVENTS@'

use_address() { # device, address, prefix length or netmask, MTU
    [ -z "$4" ] || ip link set dev "$1" mtu "$4"
    if ! ip -4 -o address show dev "$1" | grep -q " $2/"; then
        ip -4 address flush dev "$1"
        ip address add "$2/$3" dev "$1"
    fi
}

if [ -n "$reason" ]; then # dhclient
    what="$reason"
    case "$reason" in
    PREINIT) ip link set dev "$interface" up ;;
    BOUND | RENEW | REBIND | REBOOT)
        use_address "$interface" "$new_ip_address" "$new_subnet_mask" "$new_interface_mtu" ;;
    EXPIRE | FAIL | RELEASE | STOP) ip -4 address flush dev "$interface" ;;
    esac
else # udhcpc
    what="$1"
    case "$1" in
    deconfig) ip -4 address flush dev "$interface"; ip link set dev "$interface" up ;;
    bound | renew) use_address "$interface" "$ip" "$mask" "$mtu" ;;
    esac
fi

{ echo "$what"; env; echo; } >>"$events"
