/* Prints what ztoc reads from the file named, for test_ztoc.py. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/ztoc.h"

static void print_file(const struct ztoc *z, size_t i)
{
	struct ztoc_file f;
	int r = ztoc_file_get(z, i, &f);

	if (r < 0) {
		printf("file error %d\n", -r);
		return;
	}
	printf("file %c %.*s|%.*s %" PRIu64 " %" PRIu64 " %o %u %u %u %u %" PRId64 ".%09u", f.type, (int)f.name_size,
	       f.name, (int)f.linkname_size, f.linkname, f.off, f.size, f.mode, f.uid, f.gid, f.devmajor, f.devminor,
	       f.mtime, f.mtime_nsec);
	for (size_t k = 0; k < f.n_records; k++) {
		struct ztoc_record x;

		if (ztoc_record_get(&f, k, &x) == 0)
			printf(" %.*s=%.*s", (int)x.key_size, x.key, (int)x.value_size, x.value);
	}
	printf("\n");
}

static void print_span(const struct ztoc *z, size_t i)
{
	struct ztoc_span s;
	char text[DIGEST_TEXT_MAX];

	ztoc_span_get(z, i, &s);
	printf("span %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %u %d %s\n", s.off, s.size, s.packed_off, s.packed_size,
	       s.bits, s.window ? s.window[0] + s.window[ZTOC_WINDOW_SIZE - 1] : -1, digest_text(&s.digest, text));
}

int main(int argc, char **argv)
{
	static uint8_t data[32u << 20];
	struct ztoc *z = NULL;
	FILE *f = argc == 2 ? fopen(argv[1], "re") : NULL;
	size_t size;
	int r;

	if (!f)
		return 2;
	size = fread(data, 1, sizeof(data), f);
	fclose(f);
	r = ztoc_parse(data, size, &z);
	if (r < 0) {
		printf("error %d\n", -r);
		return 1;
	}
	printf("ztoc %s %" PRIu64 " %" PRIu64 "\n", ztoc_is_gzip(z) ? "gzip" : "stored", ztoc_packed_size(z), ztoc_size(z));
	for (size_t i = 0; i < ztoc_n_files(z); i++)
		print_file(z, i);
	for (size_t i = 0; i < ztoc_n_spans(z); i++)
		print_span(z, i);
	ztoc_free(&z);
	return 0;
}
