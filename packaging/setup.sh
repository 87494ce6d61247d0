#!/usr/bin/env bash
# Makes a fresh Debian 12 or 13 ready for the demo, the lab and the tests: Debian packages, Node modules, dist/.
# Says what it does, does only what is missing, and can be run again.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '» %s\n' "$*"; }
fail() { printf 'setup: %s\n  → %s\n' "$1" "$2" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "root is needed" "run it as root: it makes network namespaces and firewall rules inside them"
node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
  fail "Node $(node --version) is too old" "install Node 20.19 or newer"

packages=(bind9 bind9-utils bind9-dnsutils haproxy nftables libnftables1 iproute2 git openssh-client gnupg openssl ca-certificates conntrack ulogd2 ulogd2-json procps curl iputils-ping systemd)
missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "installing Debian packages: ${missing[*]}"
  # The packages' own services are not started: the project runs instances of its own.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! cmp -s package-lock.json node_modules/.installed-lock 2>/dev/null; then
  say "installing Node modules (npm ci)"
  npm ci --silent --ignore-scripts
  cp package-lock.json node_modules/.installed-lock
fi

say "building dist/"
npm run --silent build
