#!/usr/bin/env bash
# Makes a gateway of the root of a machine that does not run yet: prepare.sh ROOT
set -euo pipefail
root=$1
cd "$(dirname "$0")/../.."
# This system may be a gateway itself, or one of its tests may have left something.
rm -rf "$root/etc/clawgress" "$root/var/lib/clawgress"
bash packaging/install.sh --root "$root"
cp -r test/systemd/root/. "$root/"
# An agent with one fault, for the tests that need one.
install -m 0644 dist/faulty-agent.mjs "$root/usr/lib/clawgress/dist/"
# Nothing here may need D-Bus: before the network is up there is none.
for unit in dbus.socket dbus.service systemd-networkd.service; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
systemctl --root "$root" enable clawgress-boot.service
systemctl --root "$root" add-wants machine.target clawgress-agent.service
chroot "$root" clawgress init --gateway
