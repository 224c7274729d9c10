/* Prints the members of a tar on standard input, one JSON object a line, as test_tar_oracle.py compares
 * them. The argument is the size of the pieces that are fed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "format/tar.h"

/* Bytes as hexadecimal digits: names need not be UTF-8. */
static void print_hex(const char *key, const void *data, size_t size)
{
	printf("\"%s\": \"", key);
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const uint8_t *)data)[i]);
	printf("\"");
}

static void print_member(const struct tar_member *m)
{
	static const char *const types[] = {"file", "hard", "symlink", "char", "block", "dir", "fifo"};

	printf("{\"type\": \"%s\", ", types[m->type]);
	print_hex("path", m->path, strlen(m->path));
	printf(", ");
	print_hex("link", m->link, strlen(m->link));
	printf(", \"mode\": %u, \"uid\": %u, \"gid\": %u, \"mtime\": %" PRId64 ", \"nsec\": %u, "
	       "\"major\": %u, \"minor\": %u, \"size\": %" PRIu64 ", \"body\": %" PRIu64 ", \"sparse\": %s",
	       m->mode, m->uid, m->gid, m->mtime, m->mtime_nsec, m->major, m->minor, m->size, m->body_off,
	       m->sparse ? "true" : "false");
	printf(", \"fragments\": [");
	for (size_t i = 0; i < m->n_fragments; i++)
		printf("%s[%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", i ? ", " : "", m->fragments[i].off,
		       m->fragments[i].size, m->fragments[i].body_off);
	printf("], \"xattrs\": {");
	for (size_t i = 0; i < m->n_xattrs; i++) {
		printf("%s", i ? ", " : "");
		print_hex(m->xattrs[i].name, m->xattrs[i].value, m->xattrs[i].value_size);
	}
	printf("}}\n");
}

int main(int argc, char **argv)
{
	size_t piece = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	struct tar_member m;
	struct tar *t = NULL;
	uint8_t *data;
	ssize_t n;
	int r;

	if (!piece || !(data = malloc(piece)) || tar_new(&t) < 0) {
		fprintf(stderr, "usage: %s PIECE-SIZE < TAR\n", argv[0]);
		return 2;
	}
	while ((n = read(STDIN_FILENO, data, piece)) > 0) {
		size_t pos = 0, used;

		while (pos < (size_t)n) {
			r = tar_next(t, data + pos, (size_t)n - pos, &used, &m);
			if (r < 0)
				return 1;
			pos += used;
			if (r)
				print_member(&m);
		}
	}
	r = tar_finish(t);
	tar_free(&t);
	free(data);
	return r < 0;
}
