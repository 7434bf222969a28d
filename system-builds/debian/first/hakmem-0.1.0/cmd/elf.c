/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * elf.c: reads what the dynamic loader reads, of any ABI, without readelf and without running anything.  Every access is
 * checked against the file's size: a damaged file is an error, not a crash.
 */
#include "command.h"

#include <elf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* ---- access ------------------------------------------------------------------------------------------------------ */

/* `n` bytes as a number, 0 where there are none. */
static uint64_t number(const struct elf *e, size_t at, unsigned n)
{
    uint64_t value = 0;
    if (at > e->size || e->size - at < n)
        return 0;
    for (unsigned i = 0; i < n; i++)
        value |= (uint64_t)e->map[at + i] << 8 * (e->big_endian ? n - 1 - i : i);
    return value;
}

#define HEADER(e, field) \
    ((e)->wide ? number(e, offsetof(Elf64_Ehdr, field), sizeof((Elf64_Ehdr *)0)->field) \
               : number(e, offsetof(Elf32_Ehdr, field), sizeof((Elf32_Ehdr *)0)->field))
#define SEGMENT(e, at, field) \
    ((e)->wide ? number(e, (at) + offsetof(Elf64_Phdr, field), sizeof((Elf64_Phdr *)0)->field) \
               : number(e, (at) + offsetof(Elf32_Phdr, field), sizeof((Elf32_Phdr *)0)->field))
/* Version structures are the same in both widths. */
#define VERSION(e, at, type, field) number(e, (at) + offsetof(type, field), sizeof((type *)0)->field)

/* A string that ends before `end`; NULL: there is none. */
static const char *string(const struct elf *e, size_t at, size_t end)
{
    if (end > e->size || at >= end || !memchr(e->map + at, 0, end - at))
        return NULL;
    return (const char *)e->map + at;
}

static size_t segment_at(const struct elf *e, unsigned i)
{
    return (size_t)HEADER(e, e_phoff) + i * (e->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr));
}

/* Where an address is in the file; past its end where it is not. */
static size_t offset_of(const struct elf *e, uint64_t address)
{
    for (unsigned i = 0; i < HEADER(e, e_phnum); i++) {
        size_t at = segment_at(e, i);
        uint64_t start = SEGMENT(e, at, p_vaddr);
        if (SEGMENT(e, at, p_type) == PT_LOAD && address >= start && address - start < SEGMENT(e, at, p_filesz))
            return (size_t)(SEGMENT(e, at, p_offset) + (address - start));
    }
    return e->size;
}

/* The i-th entry of the dynamic section with this tag. */
static bool dynamic(const struct elf *e, int64_t tag, unsigned i, uint64_t *value)
{
    size_t word = e->wide ? 8 : 4;
    for (size_t at = e->dynamic; at + 2 * word <= e->dynamic_end; at += 2 * word) {
        uint64_t t = number(e, at, (unsigned)word);
        if (t == DT_NULL)
            break;
        if (t == (uint64_t)tag && i-- == 0) {
            *value = number(e, at + word, (unsigned)word);
            return true;
        }
    }
    return false;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

const char *elf_read(struct elf *e, int fd)
{
    struct stat s;
    memset(e, 0, sizeof *e);
    if (fstat(fd, &s) || !S_ISREG(s.st_mode))
        return "not a file";
    e->size = (size_t)s.st_size;
    void *map = e->size ? mmap(NULL, e->size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    if (map == MAP_FAILED || e->size < sizeof(Elf32_Ehdr) || memcmp(map, ELFMAG, SELFMAG))
        return "not an ELF file";
    e->map = map;
    e->wide = e->map[EI_CLASS] == ELFCLASS64;
    e->big_endian = e->map[EI_DATA] == ELFDATA2MSB;
    e->machine = (unsigned)HEADER(e, e_machine);
    if (HEADER(e, e_phnum) == 0 || segment_at(e, (unsigned)HEADER(e, e_phnum)) > e->size)
        return "damaged ELF file";
    for (unsigned i = 0; i < HEADER(e, e_phnum); i++) {
        size_t at = segment_at(e, i), start = (size_t)SEGMENT(e, at, p_offset);
        size_t end = start + (size_t)SEGMENT(e, at, p_filesz);
        uint64_t type = SEGMENT(e, at, p_type);
        if (type != PT_INTERP && type != PT_DYNAMIC)
            continue;
        if (end < start || end > e->size)
            return "damaged ELF file";
        if (type == PT_INTERP && !(e->interpreter = string(e, start, end)))
            return "damaged ELF file";
        if (type == PT_DYNAMIC)
            e->dynamic = start, e->dynamic_end = end;
    }
    uint64_t value, length;
    if (dynamic(e, DT_STRTAB, 0, &value) && dynamic(e, DT_STRSZ, 0, &length)) {
        e->strings = offset_of(e, value);
        e->strings_end = e->strings + (size_t)length;
        if (e->strings_end < e->strings || e->strings_end > e->size)
            return "damaged ELF file";
    }
    if (dynamic(e, DT_SONAME, 0, &value))
        e->soname = string(e, e->strings + (size_t)value, e->strings_end);
    return NULL;
}

bool elf_same_abi(const struct elf *a, const struct elf *b)
{
    return a->wide == b->wide && a->big_endian == b->big_endian && a->machine == b->machine;
}

const char *elf_abi(const struct elf *e)
{
    static const struct {
        unsigned machine;
        const char *name;
    } names[] = { { EM_386, "i386" },       { EM_X86_64, "x86-64" }, { EM_ARM, "ARM" },     { EM_AARCH64, "AArch64" },
                  { EM_RISCV, "RISC-V" },   { EM_S390, "S/390" },    { EM_PPC, "PowerPC" }, { EM_PPC64, "PowerPC64" },
                  { EM_MIPS, "MIPS" },      { EM_SPARC, "SPARC" },   { EM_SPARCV9, "SPARC V9" } };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (names[i].machine == e->machine)
            return text("%s, %d bits", names[i].name, e->wide ? 64 : 32);
    return text("machine %u, %d bits", e->machine, e->wide ? 64 : 32);
}

const char *elf_needs(const struct elf *e, unsigned i)
{
    uint64_t value;
    if (!dynamic(e, DT_NEEDED, i, &value))
        return NULL;
    const char *name = string(e, e->strings + (size_t)value, e->strings_end);
    return name ? name : "(damaged)";
}

/* ---- symbol versions --------------------------------------------------------------------------------------------- */

static bool defines(const struct elf *e, const char *version)
{
    uint64_t start, count;
    if (!dynamic(e, DT_VERDEF, 0, &start) || !dynamic(e, DT_VERDEFNUM, 0, &count))
        return false;
    for (size_t at = offset_of(e, start); count-- && at < e->size;) {
        size_t aux = at + (size_t)VERSION(e, at, Elf32_Verdef, vd_aux);
        const char *name = string(e, e->strings + (size_t)VERSION(e, aux, Elf32_Verdaux, vda_name), e->strings_end);
        if (name && !strcmp(name, version))
            return true;
        at += (size_t)VERSION(e, at, Elf32_Verdef, vd_next);
    }
    return false;
}

const char *elf_lacks_version(const struct elf *provider, const char *provider_name, const struct elf *user)
{
    uint64_t start, count;
    if (!dynamic(user, DT_VERNEED, 0, &start) || !dynamic(user, DT_VERNEEDNUM, 0, &count))
        return NULL;
    for (size_t at = offset_of(user, start); count-- && at < user->size;) {
        const char *file =
            string(user, user->strings + (size_t)VERSION(user, at, Elf32_Verneed, vn_file), user->strings_end);
        size_t aux = at + (size_t)VERSION(user, at, Elf32_Verneed, vn_aux);
        for (uint64_t n = VERSION(user, at, Elf32_Verneed, vn_cnt); n-- && aux < user->size;) {
            size_t place = user->strings + (size_t)VERSION(user, aux, Elf32_Vernaux, vna_name);
            const char *name = string(user, place, user->strings_end);
            bool weak = VERSION(user, aux, Elf32_Vernaux, vna_flags) & VER_FLG_WEAK;
            if (file && !strcmp(file, provider_name) && name && !weak && !defines(provider, name))
                return name;
            aux += (size_t)VERSION(user, aux, Elf32_Vernaux, vna_next);
        }
        at += (size_t)VERSION(user, at, Elf32_Verneed, vn_next);
    }
    return NULL;
}

/* ---- $LIB -------------------------------------------------------------------------------------------------------- */

/* "lib", "lib64", "libx32", and those with the name of an ABI behind: "lib/x86_64-linux-gnu". */
static bool is_lib(const char *s)
{
    if (strncmp(s, "lib", 3))
        return false;
    s += 3;
    s += strspn(s, "x") ? 1 : 0;
    s += strspn(s, "0123456789");
    return !*s || (*s == '/' && s[1] && !s[1 + strspn(s + 1, "abcdefghijklmnopqrstuvwxyz0123456789_-")]);
}

/* The loader has it as a string of its own, and shows it to nobody.  The longest one wins: "lib" alone may be part of
 * something else. */
const char *elf_loader_lib(const struct elf *loader)
{
    const char *found = "lib";
    for (size_t at = 1; at + 3 < loader->size; at++) {
        const unsigned char *p = memchr(loader->map + at, 'l', loader->size - at);
        if (!p)
            break;
        at = (size_t)(p - loader->map);
        const char *s = p[-1] ? NULL : string(loader, at, loader->size);
        if (s && is_lib(s) && strlen(s) > strlen(found))
            found = s;
    }
    return found;
}
