# Shared by the completions for bash and zsh, and written so that both shells understand it.
#
# _ssgpt_rows holds the program's definitions, one per row: COMMAND|WORD|KIND|VALUES|TEXT.
#   COMMAND  full name of the command that WORD belongs to ("evaluate loss"); empty for the program itself, "=" for config keys
#   KIND     command, flag, option (takes one value), options (takes several), argument, arguments or key
#   VALUES   the possible values, separated by blanks: @files, @folders, @keys, @list (a comma-separated list of the words that
#            follow), or words
#   TEXT     a phrase that describes WORD
# The functions set variables that their caller declares: kind, values, where, state, wanted, ended, arguments, names, texts,
# prefix, paths.

# _ssgpt_row COMMAND WORD: sets kind and values from that row; returns 1 if there is none.
_ssgpt_row() {
  local row
  for row in "${_ssgpt_rows[@]}"; do
    [[ $row == "$1|$2|"* ]] || continue
    row=${row#"$1|$2|"}
    kind=${row%%"|"*}
    row=${row#*"|"}
    values=${row%%"|"*}
    return 0
  done
  return 1
}

# _ssgpt_walk WORD...: reads the words before the cursor as the program does. Sets where to the command that they name, state
# to "value" if an option still needs its value or to "further" if it may take another one, wanted to the VALUES of that
# option, ended if there was a --, and arguments to the number of arguments.
_ssgpt_walk() {
  local word
  where='' state='' wanted='' ended='' arguments=0
  for word in "$@"; do
    if [[ $word == -- && -z $ended && ($state != value || $kind == options) ]]; then
      ended=yes
    elif [[ $state == value ]]; then
      state=''
      if [[ $kind == options ]]; then state=further; fi
    elif [[ -z $ended && $word == -?* && $word != -[.0-9]* ]]; then
      state=''
      if ! _ssgpt_row "$where" "${word%%=*}" || [[ $kind == flag ]]; then continue; fi
      wanted=$values
      if [[ $word != *=* ]]; then
        state=value
      elif [[ $kind == options ]]; then
        state=further
      fi
    elif [[ $state == further ]]; then
      continue
    elif _ssgpt_row "$where" "$word" && [[ $kind == command ]]; then
      where=${where:+$where }$word
    else
      arguments=$((arguments + 1))
    fi
  done
}

# _ssgpt_add_rows COMMAND KIND...: appends the WORD and TEXT of these rows to names and texts.
_ssgpt_add_rows() {
  local command=$1 row word what
  shift
  for row in "${_ssgpt_rows[@]}"; do
    [[ $row == "$command|"* ]] || continue
    row=${row#"$command|"}
    word=${row%%"|"*}
    row=${row#*"|"}
    what=${row%%"|"*}
    [[ " $* " == *" $what "* ]] || continue
    row=${row#*"|"}
    if [[ $what == key ]]; then word+='='; fi
    names+=("$word")
    texts+=("${row#*"|"}")
  done
}

# _ssgpt_add_values TYPED VALUES: appends the possible values, given the part of the value that is TYPED. Appends to prefix
# whatever of TYPED comes before the part that names complete.
_ssgpt_add_values() {
  local typed=$1 left=$2 one
  while [[ -n $left ]]; do
    one=${left%%" "*}
    left=${left#"$one"}
    left=${left#" "}
    case $one in
      @files | @folders) paths=${one#@} ;;
      @list) if [[ $typed == *,* ]]; then prefix+=${typed%,*},; fi ;;
      @keys)
        if [[ $typed != *=* ]]; then
          _ssgpt_add_rows '=' key
        elif _ssgpt_row '=' "${typed%%=*}"; then
          prefix+=${typed%%=*}=
          _ssgpt_add_values "${typed#*=}" "$values"
        fi
        ;;
      *)
        names+=("$one")
        texts+=('')
        ;;
    esac
  done
}

# _ssgpt_add_argument TYPED: appends the possible values of the argument at the cursor; returns 1 if the command takes none.
_ssgpt_add_argument() {
  local row number=0
  for row in "${_ssgpt_rows[@]}"; do
    case $row in "$where|"*"|argument|"* | "$where|"*"|arguments|"*) ;; *) continue ;; esac
    row=${row#"$where|"*"|"}
    if [[ $number == "$arguments" || $row == "arguments|"* ]]; then
      row=${row#*"|"}
      _ssgpt_add_values "$1" "${row%%"|"*}"
      return 0
    fi
    number=$((number + 1))
  done
  return 1
}

# _ssgpt_offer TYPED WORD...: finds what can be at the cursor after these words, given what is TYPED there: names with their
# texts, and paths ("files", "folders" or empty). All of them come after prefix, a part of TYPED.
_ssgpt_offer() {
  local typed=$1
  shift
  names=() texts=() prefix='' paths=''
  _ssgpt_walk "$@"
  if [[ $state == value ]]; then
    _ssgpt_add_values "$typed" "$wanted"
  elif [[ -z $ended && $typed == --*=* ]]; then
    if _ssgpt_row "$where" "${typed%%=*}" && [[ $kind == option* ]]; then
      prefix=${typed%%=*}=
      _ssgpt_add_values "${typed#*=}" "$values"
    fi
  elif [[ -z $ended && $typed == -* ]]; then
    _ssgpt_add_rows "$where" flag option options
  elif [[ $state == further ]]; then
    _ssgpt_add_values "$typed" "$wanted"
  else
    _ssgpt_add_rows "$where" command
    if ((${#names[@]} > 0)); then
      # Nothing can follow a word that is none of the commands.
      if ((arguments > 0)); then names=() texts=(); fi
    elif ! _ssgpt_add_argument "$typed" && [[ -z $typed && -z $ended ]]; then
      _ssgpt_add_rows "$where" flag option options
    fi
  fi
}
