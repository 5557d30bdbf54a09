# __ssgpt_rows holds the program's definitions, one per row: COMMAND|WORD|KIND|VALUES|TEXT.
#   COMMAND  full name of the command that WORD belongs to ("evaluate loss"); empty for the program itself, "=" for config keys
#   KIND     command, flag, option (takes one value), options (takes several), argument, arguments or key
#   VALUES   the possible values, separated by blanks: @files, @folders, @keys, @list (a comma-separated list of the words that
#            follow), or words
#   TEXT     a phrase that describes WORD

# __ssgpt_row COMMAND WORD: prints KIND and VALUES of that row; nothing if there is none.
function __ssgpt_row
    set -l start (string escape --style=regex -- "$argv[1]|$argv[2]|")
    string replace -r -f -- "^$start([^|]*)\|([^|]*)\|.*" '$1'\n'$2' $__ssgpt_rows
end

# __ssgpt_add_rows COMMAND KINDS: prints WORD and TEXT of these rows. KINDS are separated by |.
function __ssgpt_add_rows
    set -l command (string escape --style=regex -- "$argv[1]")
    set -l suffix ''
    test "$argv[2]" = key; and set suffix =
    string replace -r -f -- "^$command\|([^|]*)\|(?:$argv[2])\|[^|]*\|(.*)" '$1'$suffix\t'$2' $__ssgpt_rows
end

# __ssgpt_add_values PREFIX TYPED VALUES: prints the possible values after PREFIX, given the part of the value that is TYPED.
function __ssgpt_add_values
    set -l prefix "$argv[1]"
    set -l typed "$argv[2]"
    for one in (string split -n ' ' -- "$argv[3]")
        switch $one
            case @files
                printf '%s\n' "$prefix"(__fish_complete_path "$typed")
            case @folders
                printf '%s\n' "$prefix"(__fish_complete_directories "$typed" '')
            case @list
                string match -q '*,*' -- "$typed"
                and set prefix "$prefix"(string replace -r '[^,]*$' '' -- "$typed")
            case @keys
                set -l key (string split -m 1 = -- "$typed")
                if test (count $key) = 1
                    printf '%s\n' "$prefix"(__ssgpt_add_rows = key)
                else if set -l row (__ssgpt_row = "$key[1]")
                    __ssgpt_add_values "$prefix$key[1]=" "$key[2]" "$row[2]"
                end
            case '*'
                printf '%s\n' "$prefix$one"
        end
    end
end

# __ssgpt_add_argument COMMAND NUMBER TYPED: prints the possible values of this argument, counted from 1; fails if the command
# takes none.
function __ssgpt_add_argument
    set -l command (string escape --style=regex -- "$argv[1]")
    set -l rows (string match -r -- "^$command\|[^|]*\|arguments?\|.*" $__ssgpt_rows)
    set -q rows[1]; or return 1
    set -l row (string split -m 4 '|' -- $rows[(math "min($argv[2], "(count $rows)")")])
    test $argv[2] -le (count $rows) -o "$row[3]" = arguments; or return 1
    __ssgpt_add_values '' "$argv[3]" "$row[4]"
    return 0
end

# Reads the words before the cursor as the program does, and prints what can be at the cursor. `state` is "value" if an option
# still needs its value and "further" if it may take another one; `wanted` is the VALUES of that option.
function __ssgpt_complete
    set -l typed (commandline -ct)
    set -l words (commandline -opc)
    set -l where ''
    set -l state ''
    set -l kind ''
    set -l wanted ''
    set -l ended ''
    set -l number 1
    for word in $words[2..]
        if test "$word" = -- -a -z "$ended" -a \( "$state" != value -o "$kind" = options \)
            set ended yes
        else if test "$state" = value
            set state ''
            test "$kind" = options; and set state further
        else if test -z "$ended"; and string match -q -r -- '^-[^.0-9]' "$word"
            set state ''
            set -l row (__ssgpt_row "$where" (string split -m 1 = -- "$word")[1])
            if not set -q row[1]; or test $row[1] = flag
                continue
            end
            set kind $row[1]
            set wanted "$row[2]"
            if not string match -q '*=*' -- "$word"
                set state value
            else if test $kind = options
                set state further
            end
        else if test "$state" = further
            continue
        else
            set -l row (__ssgpt_row "$where" "$word")
            if set -q row[1]; and test $row[1] = command
                set where (string trim -- "$where $word")
            else
                set number (math $number + 1)
            end
        end
    end

    set -l options 'flag|option|options'
    set -l commands (__ssgpt_add_rows "$where" command)
    if test "$state" = value
        __ssgpt_add_values '' "$typed" "$wanted"
    else if test -z "$ended"; and string match -q -- '--*=*' "$typed"
        set -l parts (string split -m 1 = -- "$typed")
        set -l row (__ssgpt_row "$where" $parts[1])
        set -q row[1]; and test $row[1] != flag
        and __ssgpt_add_values "$parts[1]=" "$parts[2]" "$row[2]"
    else if test -z "$ended"; and string match -q -- '-*' "$typed"
        __ssgpt_add_rows "$where" $options
    else if test "$state" = further
        __ssgpt_add_values '' "$typed" "$wanted"
    else if set -q commands[1]
        # Nothing can follow a word that is none of the commands.
        test $number = 1; and printf '%s\n' $commands
    else if not __ssgpt_add_argument "$where" $number "$typed"; and test -z "$typed" -a -z "$ended"
        __ssgpt_add_rows "$where" $options
    end
end

complete -c ssgpt -e
complete -c ssgpt -f -a '(__ssgpt_complete)'
