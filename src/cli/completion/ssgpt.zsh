_ssgpt() {
  local kind='' values where state wanted ended arguments prefix paths result=1 i
  local -a names texts plain open
  _ssgpt_offer "${(Q)PREFIX}" "${(@Q)words[2,CURRENT-1]}"
  if [[ -n $prefix ]]; then compset -p ${#prefix}; fi
  for ((i = 1; i <= $#names; i++)); do
    if [[ $names[i] == *= ]]; then
      open+=("${names[i]//:/\\:}${texts[i]:+:$texts[i]}")
    else
      plain+=("${names[i]//:/\\:}${texts[i]:+:$texts[i]}")
    fi
  done
  if (($#plain)); then _describe -t values value plain && result=0; fi
  if (($#open)); then _describe -t keys 'config key' open -S '' && result=0; fi
  case $paths in
    files) _files && result=0 ;;
    folders) _path_files -/ && result=0 ;; # _files would fall back to any file
  esac
  return result
}

# When compinit finds this file in fpath, the file is the body of the function _ssgpt.
if [[ ${funcstack[1]} == _ssgpt ]]; then
  _ssgpt "$@"
else
  compdef _ssgpt ssgpt
fi
