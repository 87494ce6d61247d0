#!/usr/bin/env bash
# Proves the README's commands on a Debian that has none of the dependencies: makes a minimal root of the given release,
# clones this checkout's HEAD into an empty folder in it, and runs the commands there. Nothing is left behind.
#
#   test/fresh-system.sh [trixie|bookworm] [command…]      default: trixie, `npm run demo` and `npm test`
#
# Needs root and mmdebstrap. Debian 13 brings its own Node; for Debian 12, whose Node is too old, this machine's is copied.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/.." && pwd)
release=${1:-trixie}
shift || true
if [ $# -eq 0 ]; then set -- npm run demo '&&' npm test; fi
command -v mmdebstrap >/dev/null || { echo "fresh-system: mmdebstrap is missing → apt-get install mmdebstrap" >&2; exit 1; }

root=$(mktemp -d /tmp/clawgress-fresh-XXXXXX)
trap 'rm -rf --one-file-system "$root"' EXIT
mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -1 || true)
case $release in
  trixie) include=ca-certificates,git,nodejs,npm ;;
  *) include=ca-certificates,git ;;
esac

echo "» making a minimal Debian $release"
mmdebstrap --quiet --variant=apt --include="$include" "$release" "$root" ${mirror:+"$mirror"}
if [ "$release" != trixie ]; then
  install -m 755 "$(readlink -f "$(command -v node)")" "$root/usr/bin/node"
  cp -a "$(dirname "$(readlink -f "$(command -v npm)")")/.." "$root/usr/lib/npm"
  ln -s ../lib/npm/bin/npm-cli.js "$root/usr/bin/npm"
  ln -s ../lib/npm/bin/npx-cli.js "$root/usr/bin/npx"
fi
# What this machine trusts and how it resolves names, so that apt and npm work inside as they do here.
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
git clone --quiet --no-local "$checkout" "$root/srv/clawgress"
echo "» node $(chroot "$root" node --version), $(grep PRETTY_NAME "$root/etc/os-release")"

# A process namespace of its own ends with the command, whatever the command left running.
unshare --mount --pid --fork --kill-child --propagation private bash -euc '
  root=$1; shift
  # ip-netns remounts its root, which must be a mount point for that.
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount --rbind /sys "$root/sys"
  mount -t tmpfs tmpfs "$root/run"
  mount -t tmpfs tmpfs "$root/tmp"
  exec chroot "$root" env HOME=/root CI=true PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
    bash -euc "cd /srv/clawgress && $*"
' fresh-system "$root" "$@"
