#!/usr/bin/env bash
# Runs end-to-end test files on Debian 12's own kernel (6.1), under QEMU by software emulation, all of them in about an hour:
#   test/kernel/run.sh [FILE.test.ts …]
# README.md says what they are, and what they found.
# The machine inside sees this system's files read-only below a layer of memory, so that it runs the very programs and
# the very checkout that are here. It has no network, and nothing that it writes stays. Needs root, and dist/ to be built.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
cache=${XDG_CACHE_HOME:-$HOME/.cache}/clawgress-kernel
memory_mib=4096
limit_s=${LIMIT_S:-7200}
files=("$@")
[ ${#files[@]} -gt 0 ] || files=(
  test/e2e/{gate-kernel,datapath,names,hours-kernel,byte-caps-kernel,revocations,limits,sni-change}.test.ts
  test/kernel/real-clock.test.ts
)

say() { printf '» %s\n' "$*"; }
fail() { printf 'kernel: %s\n  → %s\n' "$1" "$2" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "root is needed" "run it as root"
[ -f dist/clawgress.mjs ] || fail "dist/ is not built" "npm run setup"
missing=()
for package in qemu-system-x86 qemu-system-common; do
  [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "installing Debian packages: ${missing[*]}"
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi
virtiofsd=$(command -v virtiofsd || ls /usr/lib/qemu/virtiofsd /usr/libexec/virtiofsd 2>/dev/null | head -1 || true)
[ -n "$virtiofsd" ] || fail "virtiofsd is missing" "apt-get install virtiofsd"

mkdir -p "$cache"
cd "$cache"
package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ { print $2; exit }')
case $package in
  linux-image-6.1.*) ;;
  *) fail "this system's cloud kernel is ${package:-unknown}, not Debian 12's 6.1" "run it on Debian 12" ;;
esac
version=${package#linux-image-}
if [ ! -f "$cache/$version/initrd.gz" ]; then
  say "fetching $package and busybox-static"
  rm -rf "$cache/$version" "$cache/unpacked"
  mkdir -p "$cache/unpacked" "$cache/$version"
  apt-get download -qq "$package" busybox-static
  for deb in "$package"_*.deb busybox-static_*.deb; do dpkg-deb -x "$deb" unpacked; rm "$deb"; done
  tree=$cache/unpacked/tree
  mkdir -p "$tree"/{bin,proc,sys,dev,rw,lib/modules}
  cp unpacked/bin/busybox "$tree/bin/"
  cp -r "unpacked/lib/modules/$version" "$tree/lib/modules/"
  cp "$root/test/kernel/init.sh" "$tree/init"
  chmod +x "$tree/init"
  "$tree/bin/busybox" depmod -b "$tree" "$version"
  (cd "$tree" && find . | ./bin/busybox cpio -o -H newc 2>/dev/null | gzip -1 >"$cache/$version/initrd.gz")
  cp "unpacked/boot/vmlinuz-$version" "$cache/$version/vmlinuz"
  rm -rf unpacked
fi

scratch=$(mktemp -d)
trap 'kill "${files_pid:-}" 2>/dev/null || true; rm -rf "$scratch"' EXIT
"$virtiofsd" --socket-path="$scratch/files.sock" -o source=/ -o cache=always -o sandbox=chroot >"$scratch/virtiofsd.log" 2>&1 &
files_pid=$!
for _ in $(seq 50); do [ -S "$scratch/files.sock" ] && break; sleep 0.1; done
# Emulation is ten to twenty times slower: tests get more time, and nothing else about them changes.
# The first process of a bare kernel may open 4,096 files, fewer than HAProxy wants; systemd gives everybody this.
command="ulimit -n 524288 && cd $root && CI=true NO_COLOR=1 TEST_PATIENCE=10 TEST_OWN_CLOCK=1 CLAWGRESS_APPLIES=4 node_modules/.bin/vitest run --project e2e --project pairs --project alone --project long --project kernel --no-file-parallelism --reporter=verbose ${files[*]}"
say "booting $version"
timeout "$limit_s" qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -m "$memory_mib" -nographic -no-reboot -nic none \
  -object "memory-backend-memfd,id=memory,size=${memory_mib}M,share=on" -numa node,memdev=memory \
  -chardev "socket,id=files,path=$scratch/files.sock" -device vhost-user-fs-pci,chardev=files,tag=files \
  -kernel "$cache/$version/vmlinuz" -initrd "$cache/$version/initrd.gz" \
  -append "console=ttyS0 quiet panic=-1 run=$command" </dev/null | tee "$scratch/console.log" || true
status=$(sed -n 's/^.*clawgress-exit=\([0-9]*\).*$/\1/p' "$scratch/console.log" | tail -1)
[ "$status" = 0 ] || fail "the tests on $version did not pass (${status:-no result})" "read the lines above"
say "passed on $version"
