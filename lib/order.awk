# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# order.awk: makes of the linker's own script, which it shows when it is asked to be verbose, one that puts what the file named
# by the variable `order` lists first into the output section .text.

/^=====/ { shown = !shown; next }
!shown { next }
{ print }
/^  \.text / { text = 1 }
text && /{/ {
    text = 0
    while ((getline line < order) > 0) {
        n = split(line, word, " ")
        if (!n || line ~ /^#/)
            continue
        file = substr(word[1], 1, length(word[1]) - 1)
        printf "    %s(", (file == "*" ? file : file ~ /\.a$/ ? file ":" : "*-" file ".o")
        for (i = 2; i <= n; i++)
            printf "%s ", word[i] ~ /^\./ ? word[i] : ".text." word[i] " .text.hot." word[i]
        print ")"
    }
}
