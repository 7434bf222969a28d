/* config.h.  Generated from config.h.in by configure.  */
/* config.h.in.  Generated from configure.ac by autoheader.  */

/* Define to 1 if you have the <dlfcn.h> header file. */
#define HAVE_DLFCN_H 1

/* Define to 1 if you have the <inttypes.h> header file. */
#define HAVE_INTTYPES_H 1

/* Define to 1 if you have the <stdint.h> header file. */
#define HAVE_STDINT_H 1

/* Define to 1 if you have the <stdio.h> header file. */
#define HAVE_STDIO_H 1

/* Define to 1 if you have the <stdlib.h> header file. */
#define HAVE_STDLIB_H 1

/* Define to 1 if you have the <strings.h> header file. */
#define HAVE_STRINGS_H 1

/* Define to 1 if you have the <string.h> header file. */
#define HAVE_STRING_H 1

/* Define to 1 if you have the <sys/stat.h> header file. */
#define HAVE_SYS_STAT_H 1

/* Define to 1 if you have the <sys/types.h> header file. */
#define HAVE_SYS_TYPES_H 1

/* Define to 1 if you have the <unistd.h> header file. */
#define HAVE_UNISTD_H 1

/* Define to 1 if you have the <valgrind/memcheck.h> header file. */
/* #undef HAVE_VALGRIND_MEMCHECK_H */

/* Define to 1 if you have the <valgrind/valgrind.h> header file. */
/* #undef HAVE_VALGRIND_VALGRIND_H */

/* check invariants and lock ranks while running: 0 or 1 */
#define HKM_DEBUG 0

/* catch every double free, for a price in speed: 0 or 1 */
#define HKM_HARDENED 0

/* Default of HAKMEM_HUGEPAGES: 0 no, 1 thp, 2 hugetlb */
#define HKM_HUGEPAGES 0

/* Default of HAKMEM_DISABLE_PREFAULT: 0 or 1 */
#define HKM_NO_PREFAULT 0

/* count every malloc and free, on the fast paths too: 0 or 1 */
#define HKM_STATS 0

/* Bytes in a SuperSlab: 2^16, 2^19 or 2^21 */
#define HKM_SUPERSLAB_SIZE 2097152

/* tell valgrind's memcheck of every block; implies --enable-hardened: 0 or 1
   */
#define HKM_VALGRIND 0

/* Define to the sub-directory where libtool stores uninstalled libraries. */
#define LT_OBJDIR ".libs/"

/* Name of package */
#define PACKAGE "hakmem"

/* Define to the address where bug reports for this package should be sent. */
#define PACKAGE_BUGREPORT ""

/* Define to the full name of this package. */
#define PACKAGE_NAME "hakmem"

/* Define to the full name and version of this package. */
#define PACKAGE_STRING "hakmem 0.1.0"

/* Define to the one symbol short name of this package. */
#define PACKAGE_TARNAME "hakmem"

/* Define to the home page for this package. */
#define PACKAGE_URL ""

/* Define to the version of this package. */
#define PACKAGE_VERSION "0.1.0"

/* Define to 1 if all of the C90 standard headers exist (not just the ones
   required in a freestanding environment). This macro is provided for
   backward compatibility; new code need not use it. */
#define STDC_HEADERS 1

/* Version number of package */
#define VERSION "0.1.0"
