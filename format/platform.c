/* Names of processors are made the same first; then a variant is a number, and a lower one runs
 * too. */
#include "format/platform.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "base/report.h"

/* What uname(2) and people write, and Go's name for it. */
static const struct {
	const char *alias, *architecture, *variant;
} aliases[] = {
	{"x86_64", "amd64", ""},    {"x86-64", "amd64", ""},
	{"i386", "386", ""},	    {"i486", "386", ""},
	{"i586", "386", ""},	    {"i686", "386", ""},
	{"aarch64", "arm64", "v8"}, {"aarch64_be", "arm64be", ""},
	{"armv8l", "arm", "v7"},    {"armv8b", "arm", "v7"},
	{"armv7l", "arm", "v7"},    {"armhf", "arm", "v7"},
	{"armv6l", "arm", "v6"},    {"armel", "arm", "v6"},
	{"armv5tel", "arm", "v5"},  {"armv5tejl", "arm", "v5"},
	{"ppc64el", "ppc64le", ""}, {"mips64el", "mips64le", ""},
	{"mipsel", "mipsle", ""},   {"loongarch64", "loong64", ""},
};

static void normalize(struct platform *p)
{
	for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
		if (strcmp(p->architecture, aliases[i].alias) == 0) {
			strcpy(p->architecture, aliases[i].architecture);
			if (!p->variant[0])
				strcpy(p->variant, aliases[i].variant);
		}
	/* "8" for "v8" */
	if (strncmp(p->architecture, "arm", 3) == 0 && p->variant[0] >= '0' &&
	    p->variant[0] <= '9' && strlen(p->variant) + 1 < sizeof(p->variant)) {
		memmove(p->variant + 1, p->variant, strlen(p->variant) + 1);
		p->variant[0] = 'v';
	}
}

/* The level of instructions, for images that come in several: x86-64 psABI, "Micro-architecture
 * levels". Not by __builtin_cpu_supports(): its constructor asks the processor at each start of the
 * program, needed or not, and in a virtual machine each of its questions takes microseconds. */
static const char *ask_amd64_variant(void)
{
#ifdef __x86_64__
	const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
	const unsigned avx_state = 0x6, avx512_state = 0xe6; /* XCR0: what the kernel keeps for each process */
	unsigned a, b, c1 = 0, d, b7 = 0, c, state = 0;

	if (!__get_cpuid(1, &a, &b, &c1, &d) || !(c1 & bit_SSE4_2) || !(c1 & bit_POPCNT))
		return "";
	if (c1 & bit_OSXSAVE)
		__asm__("xgetbv" : "=a"(state), "=d"(d) : "c"(0));
	if (!__get_cpuid_count(7, 0, &a, &b7, &c, &d) || (state & avx_state) != avx_state || !(b7 & bit_AVX2) ||
	    !(b7 & bit_BMI2) || !(c1 & bit_FMA))
		return "v2";
	return (state & avx512_state) == avx512_state && (b7 & avx512) == avx512 ? "v4" : "v3";
#else
	return "";
#endif
}

static const char *amd64_variant(void)
{
	static _Atomic(const char *) known;
	const char *variant = atomic_load(&known);

	if (!variant)
		atomic_store(&known, variant = ask_amd64_variant());
	return variant;
}

static int this_machine(struct platform *ret)
{
	struct platform p = {.os = "linux"};
	struct utsname u;

	if (uname(&u) < 0)
		return -errno;
	snprintf(p.architecture, sizeof(p.architecture), "%.31s", u.machine);
	normalize(&p);
	if (strcmp(p.architecture, "amd64") == 0)
		strcpy(p.variant, amd64_variant());
	*ret = p;
	return 0;
}

/* One part of the text: lower-cased letters, digits, '.', '_', '-'. Returns what stands behind it.
 */
static const char *take_part(const char *text, char *out, size_t out_size)
{
	size_t n = strcspn(text, "/");

	if (n == 0 || n >= out_size)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		char c = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] - 'A' + 'a') : text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("._-", c)))
			return NULL;
		out[i] = c;
	}
	out[n] = '\0';
	return text + n;
}

int platform_parse(const char *text, struct platform *ret)
{
	struct platform p = {0};
	const char *at;

	if (!text)
		return this_machine(ret);
	at = take_part(text, p.os, sizeof(p.os));
	if (at && !*at && strcmp(p.os, "linux") == 0)
		return this_machine(ret);
	if (at && !*at) { /* "arm64" */
		strcpy(p.architecture, p.os);
		strcpy(p.os, "linux");
	} else if (at) {
		at = take_part(at + 1, p.architecture, sizeof(p.architecture));
	}
	if (at && *at)
		at = take_part(at + 1, p.variant, sizeof(p.variant));
	if (!at || *at)
		return fail(
			EINVAL,
			"\"%.100s\" is not a platform; write OS/ARCHITECTURE[/VARIANT], for example "
			"linux/amd64 or linux/arm/v7",
			text);
	normalize(&p);
	*ret = p;
	return 0;
}

const char *platform_text(const struct platform *p, char out[static 128])
{
	snprintf(out, 128, "%s/%s%s%s", p->os, p->architecture, p->variant[0] ? "/" : "",
		 p->variant);
	return out;
}

/* "v8.2" is 802; "" is the architecture's first level. -1: not a level. */
static int level(const char *architecture, const char *variant)
{
	unsigned long major, minor = 0;
	char *end;

	if (!variant[0])
		variant = strcmp(architecture, "arm") == 0     ? "v7"
			  : strcmp(architecture, "arm64") == 0 ? "v8"
							       : "v1";
	if (variant[0] != 'v' || variant[1] < '0' || variant[1] > '9')
		return -1;
	major = strtoul(variant + 1, &end, 10);
	if (*end == '.' && end[1] >= '0' && end[1] <= '9')
		minor = strtoul(end + 1, &end, 10);
	return *end || major > 99 || minor > 99 ? -1 : (int)(major * 100 + minor);
}

int platform_distance(const struct platform *wanted, const struct platform *have)
{
	struct platform w = *wanted, h = *have;
	int wanted_level, have_level;

	normalize(&w);
	normalize(&h);
	if (strcmp(w.os, h.os) != 0 || strcmp(w.architecture, h.architecture) != 0)
		return -1;
	if (w.os_version[0] && strcmp(w.os_version, h.os_version) != 0)
		return -1;
	if (strcmp(w.variant, h.variant) == 0)
		return 0;
	if (strcmp(w.architecture, "arm") == 0 || strcmp(w.architecture, "arm64") == 0 ||
	    strcmp(w.architecture, "amd64") == 0) {
		wanted_level = level(w.architecture, w.variant);
		have_level = level(h.architecture, h.variant);
		if (wanted_level < 0 || have_level < 0 || have_level > wanted_level)
			return -1;
		return wanted_level - have_level;
	}
	/* Others name no order: the plain one suits all, and who names none takes what there is. */
	if (!h.variant[0])
		return 1;
	return w.variant[0] ? -1 : 2;
}
