"""Runs one generator of the original program on one policy, for real, and prints what came of it as JSON.

usage: driver.py GENERATOR POLICY FOLDER NAME_SERVER [--without-rpz-log]

Of the original nothing is changed. Its package `vyos.utils` is not needed: what the generators take from it is here. What
they write goes below FOLDER. nft runs as it is told; `systemctl` becomes the daemon itself, in this network namespace.
"""
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types

generator, policy, folder, name_server = sys.argv[1:5]
without_rpz_log = "--without-rpz-log" in sys.argv[5:]
commands = []


def moved(path):
    """A path below the folder, unless it is there already or is no place of the system's."""
    return folder + path if path.startswith(("/etc/", "/run/", "/var/", "/config/")) else path


def makedir(path, user=None, group=None):
    os.makedirs(path, mode=0o755, exist_ok=True)
    own(path, user, group)


def write_file(path, data, defaultonfailure=None, user=None, group=None, mode=None, append=False):
    makedir(os.path.dirname(path), user, group)
    # A path of the system inside a text, such as a socket's.
    text = re.sub(r"(?<![\w./-])/run/haproxy", folder + "/run/haproxy", data)
    with open(path, "a" if append else "w", encoding="utf-8") as handle:
        handle.write(text)
    own(path, user, group)
    if mode is not None:
        os.chmod(path, mode)


def own(path, user, group):
    try:
        if user or group:
            shutil.chown(path, user, group)
    except LookupError:
        pass  # No such user here: it stays root's, who may do more.


def call(command):
    exit_code, output = perform(words_of(command))
    commands.append({"command": command.replace(folder, ""), "exitCode": exit_code, "output": output.strip()[:500]})
    return exit_code


def cmd(command):
    return perform(words_of(command))[1]


def words_of(command):
    """The words before the first redirection or the first alternative: no shell is needed for what the original runs."""
    words = shlex.split(command)
    ends = [at for at, word in enumerate(words) if re.match(r"\d*>|\|\||&&|;", word)]
    return words[: ends[0]] if ends else words


def perform(words):
    if words[0] != "systemctl":
        return run(words)
    verb, unit = words[1], words[-1]
    if unit in ("bind9", "named"):
        return reload_named() if verb == "reload-or-restart" else (1, f"not known here: {verb} {unit}")
    if unit == "haproxy" and verb in ("restart", "stop"):
        stop(HAPROXY_PID_FILE)
        return start_haproxy() if verb == "restart" else (0, "")
    if unit == "haproxy" and verb == "is-active":
        return (0 if pid_in(HAPROXY_PID_FILE) else 3), ""
    return 0, ""


def run(words, **options):
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False, **options
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


HAPROXY_PID_FILE = folder + "/haproxy.pid"
NAMED_PID_FILE = folder + "/var/cache/bind/named.pid"


def pid_in(file):
    """The process of a pid file, or 0 when there is none."""
    try:
        with open(file, encoding="ascii") as handle:
            pid = int(handle.read())
        os.kill(pid, 0)
        return pid
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return 0


def stop(pid_file):
    pid = pid_in(pid_file)
    for attempt in range(100 if pid else 0):
        if not pid_in(pid_file):
            return
        if attempt == 0:
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.05)


def start_haproxy():
    # Nobody answers the system's own resolver here; the original's `resolvers` section is what counts.
    environment = {**os.environ, "RES_OPTIONS": "timeout:1 attempts:1"}
    argv = ["haproxy", "-D", "-f", folder + "/run/haproxy/haproxy.cfg", "-p", HAPROXY_PID_FILE]
    return run(argv, env=environment)


def reload_named():
    """Debian's named.conf: options, zones, and root hints, which are the lab's. What a lab needs is put into the options."""
    work = folder + "/var/cache/bind"
    with open(folder + "/etc/bind/named.conf.options", encoding="utf-8") as handle:
        options = handle.read()
    if without_rpz_log:
        options = re.sub(r"(?m)^\s*log yes;\s*$", "", options)
    needed = f'dnssec-validation no; pid-file "{NAMED_PID_FILE}"; session-keyfile "{work}/session.key"; '
    options = options.replace("options {", "options { " + needed, 1)
    hints = f". 3600000 NS ns.root.\nns.root. 3600000 A {name_server}\n"
    write_file(folder + "/etc/bind/lab.hints", hints)
    hint_zone = f'zone "." {{ type hint; file "{folder}/etc/bind/lab.hints"; }};\n'
    with open(folder + "/etc/bind/named.conf.local", encoding="utf-8") as handle:
        local = handle.read()
    write_file(folder + "/etc/bind/named.conf", options + "\n" + local + hint_zone + "controls { };\n")
    pid = pid_in(NAMED_PID_FILE)
    if pid:
        os.kill(pid, signal.SIGHUP)
        return 0, ""
    exit_code, output = run(["named-checkconf", folder + "/etc/bind/named.conf"])
    if exit_code != 0:
        return exit_code, output.replace(folder, "")
    return run(["named", "-u", "bind", "-c", folder + "/etc/bind/named.conf"])


def stand_in(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


def load(path):
    stand_in("vyos")
    stand_in("vyos.utils")
    stand_in("vyos.utils.file", makedir=makedir, write_file=write_file)
    stand_in("vyos.utils.process", call=call, cmd=cmd)
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location("generator", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in list(vars(module).items()):
        if name.isupper() and isinstance(value, str):
            setattr(module, name, moved(value))
    return module


error = None
try:
    load(generator).apply_policy(policy)
except Exception as exc:  # What a policy brings about in the original is a result, whatever it is.
    error = f"{type(exc).__name__}: {exc}"
print("\n" + json.dumps({"commands": commands, "error": error}))
