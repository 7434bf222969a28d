#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# completion.sh: bash completes the command's words by what `hakmem --help` says.
# shellcheck disable=SC2317  # ok calls the functions
command=${HAKMEM_COMMAND-} # sourcing the next one unsets it
# shellcheck source=tests/preload/common.sh
. "$(dirname "$0")/../preload/common.sh"
[ -x "$command" ] || skip_all "no command is built"
# shellcheck source=cmd/completions/hakmem
. "$source_dir/cmd/completions/hakmem"

# The last word is the one that is completed.
completes() { # WANTED WORD...
    local wanted=$1
    shift
    COMP_WORDS=("$command" "$@") COMP_CWORD=$#
    _hakmem
    echo "hakmem $*: ${COMPREPLY[*]}"
    case " ${COMPREPLY[*]} " in *" $wanted "*) ;; *) return 1 ;; esac
}
only() { # WANTED WORD...
    completes "$@" && [ ${#COMPREPLY[@]} = 1 ]
}
nothing() { # WORD...
    ! completes '' "$@" || [ ${#COMPREPLY[@]} = 0 ]
}

mkdir "$scratch/folder" "$scratch/folder/inner"
: >"$scratch/folder/library"
# Every verb, so that a new one is not forgotten.
verbs() {
    local verb number=0
    while read -r verb; do
        number=$((number + 1))
        completes "$verb" '' || return 1
    done < <("$command" --help | sed -n 's/^.* hakmem \([a-z|][a-z|]*\).*/\1/p' | tr '|' '\n')
    [ "$number" -ge 3 ]
}
ok "every verb of --help" verbs
ok "a verb by its first letters" only preload pre
ok "an option without a verb" only --version --v
ok "the verbs of a verb" only disable preload d
ok "all of them" completes enable preload ''
ok "options" only --library preload enable --l
ok "those of this verb alone" nothing preload disable --l
ok "a folder for --root" only "$scratch/folder/inner" preload status --root "$scratch/folder/"
ok "a file for --library" completes "$scratch/folder/library" run --library "$scratch/folder/"
ok "a program for run" completes mkdir run mkd
ok "words for tune --for" only memory tune --for m
ok "all of them" completes both tune --for ''
ok "no value as an option" nothing tune mem
ok "a command for --load" completes mkdir tune --load mkd
ok "options behind others" only --save tune --for time --sa
ok "a verb that there is not" nothing preload nonsense ''
done_testing
