#!/usr/bin/env bash
# Runs the tests of the units and of the driver `systemd`, in a machine of namespaces whose first process is systemd:
#   test/systemd/run.sh
# Needs root, dist/, systemd and control groups of version 2; nothing that the machine writes stays.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { printf 'systemd: root is needed\n  → run it as root\n' >&2; exit 1; }
exec node_modules/.bin/vitest run --project long --reporter=verbose test/e2e/systemd.test.ts
