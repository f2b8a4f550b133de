# bash completion for rackconnect. It does not use the bash-completion package, which cloud images
# often lack.
_rackconnect() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= list= word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == -- ]]; then
            COMPREPLY=($(compgen -c -- "$cur"))
            return
        fi
        case "$command${command:+ }$word" in
            @NAMES@) command="$command${command:+ }$word" ;;
        esac
    done
    # bash takes the = of --name=value for a word of its own.
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    # The last name of a list is completed.
    [[ $prev == --@(only|ok-if) ]] && list=${cur%"${cur##*,}"} cur=${cur##*,}
    # "gateway" is short for "gateway show".
    case "${command/%gateway/gateway show} $prev" in
@VALUES@
    esac
    case $command in
@WORDS@
    esac
    COMPREPLY=($(compgen -W "$word" -- "$cur"))
}
complete -o bashdefault -o default -F _rackconnect rackconnect
