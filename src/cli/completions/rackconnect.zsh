#compdef rackconnect

_rackconnect() {
    local context state state_descr line
    typeset -A opt_args
    _arguments -C '1:command:->command' '*::argument:->argument' && return
    case $state in
    command)
        local -a commands=(
@COMMANDS@
        )
        _describe command commands
        ;;
    argument)
        case "$words[1] $words[2]" in
@ARGUMENTS@
        esac
        ;;
    esac
}

# Both when it is autoloaded from fpath and when it is sourced.
if [[ $funcstack[1] == _rackconnect ]]; then
    _rackconnect "$@"
else
    compdef _rackconnect rackconnect
fi
