#!/usr/bin/env bash
# Installs the program, its units, users and folders:
#   packaging/install.sh [--root DIR]
# With --root into a system that does not run, and nothing is started or asked. It can be run again, over an older version.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '» %s\n' "$*"; }
fail() { printf 'install: %s\n  → %s\n' "$1" "$2" >&2; exit 1; }

root=
case ${1-} in
  "") ;;
  --root) root=${2:?--root needs a folder} ;;
  *) fail "unknown argument $1" "packaging/install.sh [--root DIR]" ;;
esac
[ -f dist/clawgress.mjs ] || fail "dist/ is not built" "npm run setup"

# Beside the old one and swapped in, so that a program that starts meanwhile finds all of its files.
lib=$root/usr/lib/clawgress
fresh=$lib.new
rm -rf "$fresh"
install -d -m 0755 "$fresh/dist" "$fresh/node_modules" "$root/usr/bin"
for program in clawgress revert-timer client-probe; do
  install -m 0644 "dist/$program.mjs" "dist/$program.mjs.map" "$fresh/dist/"
done
cp -r --no-preserve=ownership dist/chunks "$fresh/dist/"
# What is not bundled: a native library, and one that may be missing.
for module in koffi @koromix openpgp; do
  if [ -d "node_modules/$module" ]; then cp -r --no-preserve=ownership "node_modules/$module" "$fresh/node_modules/"; fi
done
rm -rf "$lib.old"
if [ -d "$lib" ]; then mv "$lib" "$lib.old"; fi
mv "$fresh" "$lib"
rm -rf "$lib.old"
printf '#!/bin/sh\nexec node /usr/lib/clawgress/dist/clawgress.mjs "$@"\n' >"$root/usr/bin/clawgress.new"
chmod 0755 "$root/usr/bin/clawgress.new"
mv "$root/usr/bin/clawgress.new" "$root/usr/bin/clawgress"

install -D -m 0644 -t "$root/usr/lib/systemd/system" packaging/systemd/*.service
install -D -m 0644 -t "$root/usr/lib/sysusers.d" packaging/sysusers.d/clawgress.conf
install -D -m 0644 -t "$root/usr/lib/tmpfiles.d" packaging/tmpfiles.d/clawgress.conf
install -d "$root/usr/share/man/man8"
node dist/clawgress.mjs manual | gzip -9n >"$root/usr/share/man/man8/clawgress.8.gz"
if [ -d "$root/etc/apparmor.d/local" ]; then
  rules=$root/etc/apparmor.d/local/usr.sbin.named
  if ! grep -qs clawgress "$rules"; then cat packaging/apparmor/local-usr.sbin.named >>"$rules"; fi
fi

systemd-sysusers ${root:+--root="$root"} clawgress.conf
systemd-tmpfiles ${root:+--root="$root"} --create clawgress.conf
if [ -z "$root" ]; then
  systemctl daemon-reload
  if [ -e /sys/kernel/security/apparmor/profiles ] && command -v apparmor_parser >/dev/null; then
    apparmor_parser --replace /etc/apparmor.d/usr.sbin.named
  fi
fi
say "installed: /usr/bin/clawgress, clawgress-boot.service, clawgress-agent.service"
say "next: write /etc/clawgress/agent.json with \"driver\": \"systemd\"; clawgress init --gateway; systemctl enable --now clawgress-boot clawgress-agent"
