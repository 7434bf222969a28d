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
