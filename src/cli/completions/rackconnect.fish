# fish completion for rackconnect
complete -c rackconnect -f
@COMMANDS@
@OPTIONS@
