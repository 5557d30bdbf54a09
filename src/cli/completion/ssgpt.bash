# Needs bash 4, and no bash-completion.

# _ssgpt_words: sets words to the words before the cursor, and typed to the part of the current word that is before it.
# readline splits words at = and :, which are ordinary characters for the program.
_ssgpt_words() {
  local line=${COMP_LINE:0:COMP_POINT} i word joined
  words=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    joined=''
    if ((i > 1)) && [[ $line != [[:space:]]* && (${COMP_WORDS[i - 1]} == *[=:] || ${COMP_WORDS[i]} == [=:]*) ]]; then joined=yes; fi
    line=${line#"${line%%[![:space:]]*}"}
    word=${COMP_WORDS[i]}
    if ((i == COMP_CWORD)); then word=$line; fi # up to the cursor
    line=${line#"$word"}
    if [[ -n $joined ]]; then
      words[${#words[@]} - 1]+=$word
    elif ((i > 0)); then
      words+=("$word")
    fi
  done
  typed=${words[${#words[@]} - 1]}
  unset "words[${#words[@]} - 1]"
  if [[ $typed == [\'\"]* ]]; then typed=${typed:1}; fi
}

_ssgpt() {
  local words typed kind='' values where state wanted ended arguments names texts prefix paths name rest open=''
  COMPREPLY=()
  _ssgpt_words
  _ssgpt_offer "$typed" "${words[@]}"
  rest=${typed#"$prefix"}
  # readline replaces only what comes after the last =.
  if [[ $COMP_WORDBREAKS == *=* ]]; then prefix=${prefix##*=}; fi
  for name in "${names[@]}"; do
    [[ $name == "$rest"* ]] || continue
    COMPREPLY+=("$prefix$name")
    if [[ $name == *= ]]; then open=yes; fi
  done
  if [[ -n $open ]]; then compopt -o nospace; fi
  # readline completes paths itself, with blanks, quotes and ~.
  case $paths in
    files) compopt -o default ;;
    folders) compopt -o plusdirs ;;
  esac
}

complete -F _ssgpt ssgpt
