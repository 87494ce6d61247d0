#compdef clawgress
autoload -U +X bashcompinit && bashcompinit
_clawgress() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" path="" words="" at word
  for ((at = 1; at < COMP_CWORD; at++)); do
    word="${COMP_WORDS[at]}"
    case " ${_clawgress_paths} " in *" ${path:+${path}/}${word} "*) path="${path:+${path}/}${word}" ;; esac
  done
  path="${path//\// }"
  case "$path $previous" in
    "stats --window") words="1m 5m 1h 24h" ;;
    "telemetry --window") words="1m 5m 1h 24h" ;;
    "watch --verdict") words="allow deny would-deny" ;;
    "watch --plane") words="dns ip tls http" ;;
    "key add --scope") words="read propose operate" ;;
  esac
  if [ -z "$words" ]; then
    case "$path" in
      "") words="run sync boot gate compile check explain suspend resume rollback lockdown cleanup sign verify recover rotate init status stats firewall rpz api policy telemetry watch key completions manual --json --json --help" ;;
      "run") words="--config --json --help" ;;
      "sync") words="--config --json --help" ;;
      "boot") words="--config --json --help" ;;
      "gate") words="--config --json --help" ;;
      "compile") words="--out --config --json --help" ;;
      "check") words="--approved --json --help" ;;
      "explain") words="--policy --at --config --json --help" ;;
      "suspend") words="--reason --by --config --json --help" ;;
      "resume") words="--retry --config --json --help" ;;
      "rollback") words="--reason --by --config --json --help" ;;
      "lockdown") words="--reason --end --by --config --json --help" ;;
      "cleanup") words="--yes --config --json --help" ;;
      "sign") words="--repository-folder --key --principal --serial --file --rebase --accept-removal --root-of-trust --recovery --fresh --json --help" ;;
      "verify") words="--repository-folder --root --commit --json --help" ;;
      "recover") words="--config --above --part-above --json --help" ;;
      "rotate") words="--repository-folder --principal --remove --revoke --threshold --tighten --freshness --void-serials --restart-serial --json --help" ;;
      "init") words="--repository-folder --name --principal --threshold --group --branch --gateway --config --json --help" ;;
      "status") words="--config --json --help" ;;
      "stats") words="--window --config --json --help" ;;
      "firewall") words="--elements --config --json --help" ;;
      "rpz") words="--config --json --help" ;;
      "api") words="--config --json --help" ;;
      "policy") words="show import apply end-break-glass --json --help" ;;
      "policy show") words="file --config --json --help" ;;
      "policy show file") words="--config --json --help" ;;
      "policy import") words="file --json --help" ;;
      "policy import file") words="--reason --dry-run --break-glass --for --config --json --help" ;;
      "policy apply") words="file --config --json --help" ;;
      "policy apply file") words="--config --json --help" ;;
      "policy end-break-glass") words="--config --json --help" ;;
      "telemetry") words="--window --redact --config --json --help" ;;
      "watch") words="--agent --name --reason --label --verdict --plane --count --config --json --help" ;;
      "key") words="add list remove --json --help" ;;
      "key add") words="--scope --config --json --help" ;;
      "key list") words="--config --json --help" ;;
      "key remove") words="--config --json --help" ;;
      "completions") words="--json --help" ;;
      "manual") words="--json --help" ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$current"))
}
_clawgress_paths="run sync boot gate compile check explain suspend resume rollback lockdown cleanup sign verify recover rotate init status stats firewall rpz api policy policy/show policy/show/file policy/import policy/import/file policy/apply policy/apply/file policy/end-break-glass telemetry watch key key/add key/list key/remove completions manual"
complete -F _clawgress clawgress
