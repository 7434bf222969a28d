# SPDX-License-Identifier: MIT
# SPDX-FileCopyrightText: 2026 The libhakmem authors
#
# hakmem.m4: the macros of this project's configure.ac.

# HKM_CHECK_CFLAG(FLAG, VARIABLE)
# Appends FLAG to VARIABLE when the compiler takes it without a warning.
AC_DEFUN([HKM_CHECK_CFLAG], [
AS_VAR_PUSHDEF([cache], [hkm_cv_cflag_$1])
AC_CACHE_CHECK([whether $CC accepts $1], [cache],
    [hkm_saved=$CFLAGS
     CFLAGS="$CFLAGS -Werror $1"
     AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])], [AS_VAR_SET([cache], [yes])], [AS_VAR_SET([cache], [no])])
     CFLAGS=$hkm_saved])
AS_VAR_IF([cache], [yes], [AS_VAR_APPEND([$2], [" $1"])])
AS_VAR_POPDEF([cache])
])

# HKM_CHECK_LDFLAG(FLAG, VARIABLE, [IF-NOT])
# Appends FLAG to VARIABLE when a shared library can be linked with it.
AC_DEFUN([HKM_CHECK_LDFLAG], [
AS_VAR_PUSHDEF([cache], [hkm_cv_ldflag_$1])
AC_CACHE_CHECK([whether the linker accepts $1], [cache],
    [hkm_saved=$LDFLAGS
     LDFLAGS="$LDFLAGS -shared -fPIC $1"
     AC_LINK_IFELSE([AC_LANG_SOURCE([int hkm_probe(void); int hkm_probe(void) { return 0; }])],
         [AS_VAR_SET([cache], [yes])], [AS_VAR_SET([cache], [no])])
     LDFLAGS=$hkm_saved])
AS_VAR_IF([cache], [yes], [AS_VAR_APPEND([$2], [" $1"])], [$3])
AS_VAR_POPDEF([cache])
])

# HKM_CHECK_ORDER(FLAGS, IF-SO)
# Does the linker show its script, and take it changed by lib/order.awk?  FLAGS: what the library is linked with.
AC_DEFUN([HKM_CHECK_ORDER], [
AC_CACHE_CHECK([whether the linker takes functions in a given order], [hkm_cv_order],
    [hkm_cv_order=no
     AC_LANG_CONFTEST([AC_LANG_SOURCE([int hkm_probe(void); int hkm_probe(void) { return 0; }])])
     $CC $CFLAGS $LDFLAGS -shared -fPIC $1 -Wl,--verbose -o conftest.so conftest.$ac_ext 2>/dev/null |
         $AWK -v order="$srcdir/lib/order" -f "$srcdir/lib/order.awk" >conftest.ld
     hkm_saved=$LDFLAGS
     LDFLAGS="$LDFLAGS -shared -fPIC $1 -Wl,-T,conftest.ld"
     AS_IF([grep -F '.text.malloc ' conftest.ld >/dev/null],
         [AC_LINK_IFELSE([AC_LANG_SOURCE([int hkm_probe(void); int hkm_probe(void) { return 0; }])], [hkm_cv_order=yes])])
     LDFLAGS=$hkm_saved
     rm -f conftest.ld conftest.so])
AS_VAR_IF([hkm_cv_order], [yes], [$2])
])

# HKM_REQUIRE(VARIABLE, MODULE, PURPOSE, DEBIAN-PACKAGE, FEDORA-PACKAGE)
# A pkg-config module that must be there.  The error names the packages to install.
AC_DEFUN([HKM_REQUIRE], [
PKG_CHECK_MODULES([$1], [$2], [],
    [AC_MSG_ERROR([
  $2, $3, was not found by pkg-config:
    $$1[]_PKG_ERRORS
  Install it:   Debian, Ubuntu: apt-get install $4      Fedora: dnf install $5
  If it is where pkg-config does not look, set PKG_CONFIG_PATH, or $1_CFLAGS and $1_LIBS.])])
])

# HKM_SWITCH(NAME, MACRO, HELP)
# --enable-NAME, off by default; MACRO is 0 or 1 in config.h, so that code says if (MACRO) and is always compiled.
AC_DEFUN([HKM_SWITCH], [
AC_ARG_ENABLE([$1], [AS_HELP_STRING([--enable-$1], [$3 (default: no)])], [], [AS_VAR_SET([enable_$1], [no])])
AS_CASE([$enable_$1],
    [yes], [AC_DEFINE([$2], [1], [$3: 0 or 1])],
    [no], [AC_DEFINE([$2], [0], [$3: 0 or 1])],
    [AC_MSG_ERROR([--enable-$1 takes yes or no, not "$enable_$1"])])
])

# HKM_REPRODUCIBLE_DIST
# Two runs of `make dist` give the same bytes: members sorted, owned by nobody in particular, with modes that do not
# depend on the umask, and all as old as tools/source-date says.  With a tar that cannot do that, dist is Automake's.
AC_DEFUN([HKM_REPRODUCIBLE_DIST], [
AC_REQUIRE([AM_INIT_AUTOMAKE])
AC_CACHE_CHECK([for a tar that can sort and set times], [hkm_cv_tar],
    [hkm_cv_tar=no
     for hkm_tar in "${TAR-tar}" tar gtar; do
         AS_IF([$hkm_tar --sort=name --format=ustar --mtime=@0 --owner=0 --group=0 --numeric-owner \
                    --mode=u=rwX,go=rX -cf /dev/null "$srcdir/configure" >/dev/null 2>&1],
             [hkm_cv_tar=$hkm_tar; break])
     done])
AS_IF([test "$hkm_cv_tar" != no],
    [am__tar="LC_ALL=C $hkm_cv_tar --sort=name --format=ustar --mtime=@\$\$(\$(srcdir)/tools/source-date)"
     am__tar="$am__tar --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -chf - \"\$\$tardir\""])
])

# HKM_COMPILER
# COMPILER: gcc or clang and its version, or "unknown".
AC_DEFUN([HKM_COMPILER], [
# Names of its own, or the compiler would say what they are to it.
COMPILER=$(AS_ECHO(["#ifdef __clang__
@clang __clang_major__ __clang_minor__ __clang_patchlevel__
#elif defined __GNUC__
@gcc __GNUC__ __GNUC_MINOR__ __GNUC_PATCHLEVEL__
#endif"]) | $CC -E -P - 2>/dev/null | $SED -n 's/^@\(.*\) \(.*\) \(.*\) \(.*\)/\1 \2.\3.\4/p')
test -n "$COMPILER" || COMPILER=unknown
AC_SUBST([COMPILER])
])

# HKM_PGO(SOURCES)
# --enable-pgo and --with-pgo-profile.  Sets PGO_TRAIN_CFLAGS for the library that counts, PGO_USE_CFLAGS for the one that
# is made of the profile, PGO_PROFILE (the folder that is given), what bench/train.sh wants to know, and the conditionals PGO and PGO_TRAIN.
# SOURCES is a pattern of the files of the library: a profile belongs to them.
AC_DEFUN([HKM_PGO], [
AC_ARG_ENABLE([pgo], [AS_HELP_STRING([--enable-pgo],
    [optimise by a profile: make builds the library twice and runs benches in between (default: no)])],
    [], [enable_pgo=no])
AC_ARG_WITH([pgo-profile], [AS_HELP_STRING([--with-pgo-profile=DIR],
    [optimise by the profile in DIR, which is pgo/profile of a build with --enable-pgo])], [], [with_pgo_profile=no])
AS_CASE([$enable_pgo], [yes|no], [], [AC_MSG_ERROR([--enable-pgo takes yes or no, not "$enable_pgo"])])
PGO_PROFILE= PGO_CPPFLAGS= PGO_TRAIN_CFLAGS= PGO_USE_CFLAGS=
hkm_pgo=no
AS_IF([test "$with_pgo_profile" != no], [hkm_pgo=profile], [test "$enable_pgo" = yes], [hkm_pgo=train])
AS_IF([test $hkm_pgo != no], [
    hkm_pgo_kind=${COMPILER%% *}
    # Benches have threads: counters are atomic.  gcc: no values are profiled, which wants memory while the library is in
    # the middle of giving some; functions that no bench has called, and those that have changed
    # since, are compiled as ever.
    AS_CASE([$hkm_pgo_kind],
        [gcc], [
            hkm_pgo_names="-dumpdir pgo/ -dumpbase conftest.c"
            hkm_pgo_train="-fprofile-generate -fprofile-update=prefer-atomic -fno-profile-values"
            # A static function is known by the name that gcc would give to dumps, and the profile of a file is looked for
            # there; so it must not depend on the object.
            PGO_CPPFLAGS='-dumpdir pgo/profile/ -dumpbase $(lastword $(subst -, ,$(basename $(@F)))).c'
            PGO_USE_CFLAGS="-fprofile-use -fprofile-partial-training -fno-profile-values"
            PGO_USE_CFLAGS="$PGO_USE_CFLAGS -fprofile-correction -Wno-coverage-mismatch -Wno-missing-profile"
            # With a profile, gcc copies up to 8 KiB of unknown length by rep movs, which begins slowly: realloc took 1.4 times
            # as long.
            HKM_CHECK_CFLAG([-mmemcpy-strategy=libcall:-1:noalign], [PGO_USE_CFLAGS])
            hkm_pgo_package="it is older than gcc 11, or its library libgcov is missing"],
        [clang], [
            hkm_pgo_train="-fprofile-instr-generate -fprofile-update=atomic"
            PGO_USE_CFLAGS='-fprofile-instr-use=pgo/profile/hakmem.profdata -Wno-profile-instr-out-of-date'
            PGO_USE_CFLAGS="$PGO_USE_CFLAGS -Wno-profile-instr-unprofiled"
            hkm_pgo_package="its run-time library is missing.
  Install it:   Debian, Ubuntu: apt-get install libclang-rt-${COMPILER@%:@clang }-dev      Fedora: dnf install compiler-rt"
            hkm_pgo_package=$(AS_ECHO(["$hkm_pgo_package"]) | $SED 's/\(rt-@<:@0-9@:>@*\)@<:@0-9.@:>@*/\1/')],
        [AC_MSG_ERROR([--enable-pgo is for gcc and clang; $CC is neither])])])
AS_IF([test $hkm_pgo = train], [
    AS_IF([test "$cross_compiling" = yes],
        [AC_MSG_ERROR([--enable-pgo runs what it has built, which cannot be done when cross-compiling; build on $host
  and take the profile from there: --with-pgo-profile=DIR])])
    AS_IF([test "$enable_shared" = no],
        [AC_MSG_ERROR([--enable-pgo preloads the shared library, and does not go with --disable-shared; take the profile
  from a build with it: --with-pgo-profile=DIR])])
    AC_MSG_CHECKING([whether $CC can count for a profile])
    hkm_saved=$CFLAGS hkm_saved_LDFLAGS=$LDFLAGS
    CFLAGS="$CFLAGS -Werror $hkm_pgo_train $hkm_pgo_names -fPIC" LDFLAGS="$LDFLAGS -shared"
    AC_LINK_IFELSE([AC_LANG_SOURCE([int hkm_probe(int); int hkm_probe(int n) { return n ? 3 : 4; }])],
        [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no]); AC_MSG_ERROR([--enable-pgo: $CC cannot build a library that counts; $hkm_pgo_package])])
    CFLAGS=$hkm_saved LDFLAGS=$hkm_saved_LDFLAGS
    PGO_TRAIN_CFLAGS=$hkm_pgo_train
    AS_IF([test $hkm_pgo_kind = clang], [
        # The one that belongs to the compiler comes first: the format changes from version to version.
        hkm_pgo_major=${COMPILER@%:@clang }
        AC_PATH_PROGS([LLVM_PROFDATA], [llvm-profdata-${hkm_pgo_major%%.*} llvm-profdata], [],
            [$($CC -print-prog-name=llvm-profdata | $SED 's,/@<:@^/@:>@*$,,')$PATH_SEPARATOR$PATH])
        AS_IF([test -z "$LLVM_PROFDATA"],
            [AC_MSG_ERROR([--enable-pgo with clang needs llvm-profdata; without it, it is for gcc only.
  Install it:   Debian, Ubuntu: apt-get install llvm      Fedora: dnf install llvm])])])])
AS_IF([test $hkm_pgo = profile], [
    AS_CASE([$with_pgo_profile],
        [yes], [AC_MSG_ERROR([--with-pgo-profile takes a folder])],
        [/*], [PGO_PROFILE=$with_pgo_profile],
        [PGO_PROFILE=$(pwd)/$with_pgo_profile])
    AS_IF([test "$PGO_PROFILE" -ef pgo/profile],
        [AC_MSG_ERROR([--with-pgo-profile: $PGO_PROFILE is where this build puts its own; copy it elsewhere])])
    AS_IF([test -r "$PGO_PROFILE/made-by"], [],
        [AC_MSG_ERROR([--with-pgo-profile: $PGO_PROFILE holds no profile of HAKMEM: there is no made-by in it])])
    hkm_pgo_compiler=$($SED -n 's/^compiler //p' "$PGO_PROFILE/made-by")
    hkm_pgo_machine=$($SED -n 's/^machine //p' "$PGO_PROFILE/made-by")
    AS_IF([test "$hkm_pgo_compiler" = "$COMPILER"], [],
        [AC_MSG_ERROR([--with-pgo-profile: the profile was made by $hkm_pgo_compiler, and $CC is $COMPILER])])
    AS_IF([test "$hkm_pgo_machine" = "$host_cpu"], [],
        [AC_MSG_ERROR([--with-pgo-profile: the profile was made on $hkm_pgo_machine, and this is for $host_cpu])])
    AS_IF([test "$($SED -n 's/^sources //p' "$PGO_PROFILE/made-by")" = "$(cd "$srcdir" && cat $1 | cksum)"], [],
        [AC_MSG_WARN([the profile belongs to other sources: what has changed since is compiled without it])])])
AC_SUBST([PGO_CPPFLAGS])
AC_SUBST([PGO_PROFILE])
AC_SUBST([PGO_SOURCES], ['$1'])
AC_SUBST([PGO_TRAIN_CFLAGS])
AC_SUBST([PGO_USE_CFLAGS])
AM_CONDITIONAL([PGO], [test $hkm_pgo != no])
AM_CONDITIONAL([PGO_TRAIN], [test $hkm_pgo = train])
])
