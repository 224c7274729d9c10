/* Drives fetch/source.h from a command line, for tests/e2e/test_source.py.
 *
 *   source_get registry HOST REPOSITORY ACCESS-JSON COMMAND...   (ACCESS-JSON "-": none)
 *   source_get layout DIRECTORY "" "-" COMMAND...
 *
 * COMMANDs: manifest TAG|DIGEST; blob DIGEST SIZE; range DIGEST SIZE OFF N; download DIGEST SIZE
 * FILE FROM; ranges DIGEST SIZE N (many of 64 KiB, one after the other); parallel DIGEST SIZE N
 * (many side by side); push DIGEST FILE FROM-REPOSITORY|-; put TAG|- TYPE FILE; refer TYPE FILE; referrers DIGEST
 * TYPE|-; start DIGEST SIZE FILE MS (a download that is given up); sleep MS. Several,
 * separated by
 * "--", run one after the other on one source. Results go to standard output; the last line of
 * standard error is "requests N bytes N peak KIB", the last the memory that this program had at most.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/report.h"
#include "fetch/push.h"
#include "fetch/referrers.h"
#include "fetch/source.h"
#include "fetch/transport.h"

static struct descriptor descriptor_of(char **argv)
{
	struct descriptor d = {0};

	if (digest_parse(argv[0], strlen(argv[0]), &d.digest) < 0)
		exit(2);
	d.size = strtoull(argv[1], NULL, 10);
	return d;
}

static int get_manifest(struct source *s, const char *name)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	char type[128], text[DIGEST_TEXT_MAX];
	struct digest asked, is;
	bool by_digest = digest_parse(name, strlen(name), &asked) == 0;
	int r = source_get_manifest(s, by_digest ? NULL : name, by_digest ? &asked : NULL, &b, type,
				    &is);

	if (r < 0)
		return r;
	printf("%s %s %zu\n", digest_text(&is, text), type, b.size);
	fflush(stdout);
	return fd_write_full(STDOUT_FILENO, b.data, b.size);
}

static int get_blob(struct source *s, char **argv)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	struct descriptor d = descriptor_of(argv);
	int r = source_get_blob(s, &d, 1u << 20, &b);

	return r < 0 ? r : fd_write_full(STDOUT_FILENO, b.data, b.size);
}

static int get_range(struct source *s, char **argv)
{
	struct descriptor d = descriptor_of(argv);
	uint64_t off = strtoull(argv[2], NULL, 10);
	size_t n = strtoull(argv[3], NULL, 10);
	_cleanup_(fd_free_memory) char *out = malloc(n + 1);
	int r = source_get_range(s, &d, off, n, false, NULL, out);

	return r < 0 ? r : fd_write_full(STDOUT_FILENO, out, n);
}

static int get_ranges(struct source *s, char **argv)
{
	struct descriptor d = descriptor_of(argv);
	static char out[65536];

	for (long i = strtol(argv[2], NULL, 10); i > 0; i--) {
		int r = source_get_range(s, &d, (uint64_t)i * 4096 % (d.size - sizeof(out)),
					 sizeof(out), false, NULL, out);

		if (r < 0)
			return r;
	}
	return 0;
}

static int download(struct source *s, char **argv)
{
	_cleanup_(fd_close) int fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	_cleanup_(download_free) struct download *w = NULL; /* ends before its file is closed */
	struct descriptor d = descriptor_of(argv);
	uint64_t from = strtoull(argv[3], NULL, 10), available = from;
	unsigned int n_waits = 0;
	struct timespec a, b;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &a);
	r = source_download(s, &d, fd, from, &w);
	while (r == 0 && available < d.size) {
		r = download_wait(w, available, &available);
		n_waits++;
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (r == 0)
		printf("complete %" PRIu64 " own-fd %d waits %u seconds %.3f\n", available,
		       download_fd(w) != fd, n_waits,
		       (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
	return r;
}

static int start(struct source *s, char **argv)
{
	_cleanup_(fd_close) int fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	_cleanup_(download_free) struct download *w = NULL; /* ends before its file is closed */
	struct descriptor d = descriptor_of(argv);
	int r = source_download(s, &d, fd, 0, &w);

	usleep((useconds_t)strtoul(argv[3], NULL, 10) * 1000);
	return r;
}

struct one {
	struct source *source;
	char **argv;
	int result;
};

static void *run_one(void *opaque)
{
	struct one *o = opaque;
	struct descriptor d = descriptor_of(o->argv);
	char out[1000];

	o->result = source_get_range(o->source, &d, 0, sizeof(out), false, NULL, out);
	return NULL;
}

static int parallel(struct source *s, char **argv)
{
	struct one ones[64] = {0};
	pthread_t threads[64];
	int n = (int)strtol(argv[2], NULL, 10), r = 0;

	for (int i = 0; i < n; i++) {
		ones[i] = (struct one){s, argv, 0};
		pthread_create(&threads[i], NULL, run_one, &ones[i]);
	}
	for (int i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		r = ones[i].result < 0 ? ones[i].result : r;
	}
	return r;
}

static int push(struct source *s, char **argv)
{
	_cleanup_(fd_close) int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	struct transport_upload u = {.fd = fd, .size = (uint64_t)lseek(fd, 0, SEEK_END)};
	struct digest digest;
	bool sent = false;
	int r;

	if (fd < 0 || digest_parse(argv[0], strlen(argv[0]), &digest) < 0)
		exit(2);
	r = push_blob(s, &digest, &u, strcmp(argv[2], "-") != 0 ? argv[2] : NULL, &sent);
	if (r == 0)
		printf("sent %d\n", sent);
	return r;
}

/* With `tag` NULL, as a referrer. */
static int put(struct source *s, const char *tag, char **argv)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	char text[DIGEST_TEXT_MAX];
	struct digest digest;
	int r = fd_read_file(AT_FDCWD, argv[1], 1u << 20, &b);

	if (r == 0 && tag)
		r = push_manifest(s, strcmp(tag, "-") != 0 ? tag : NULL, argv[0], b.data, b.size, &digest, NULL);
	else if (r == 0)
		r = referrers_push(s, argv[0], b.data, b.size, &digest);
	if (r == 0)
		printf("%s\n", digest_text(&digest, text));
	return r;
}

static int list_referrers(struct source *s, char **argv)
{
	_cleanup_(referrers_free) struct referrers *l = NULL;
	const char *const types[] = {argv[1], NULL};
	char text[DIGEST_TEXT_MAX];
	struct digest digest;
	int r;

	if (digest_parse(argv[0], strlen(argv[0]), &digest) < 0)
		exit(2);
	r = referrers_get(s, &digest, strcmp(argv[1], "-") != 0 ? types : NULL, &l);
	for (size_t i = 0; r == 0 && i < l->n; i++)
		printf("%s %" PRIu64 " %s %s %s\n", digest_text(&l->list[i].digest, text), l->list[i].size,
		       l->list[i].media_type, l->list[i].artifact_type,
		       referrers_annotation(&l->list[i], "org.opencontainers.image.created"));
	return r;
}

static int run(struct source *s, char **argv)
{
	if (strcmp(argv[0], "push") == 0)
		return push(s, argv + 1);
	if (strcmp(argv[0], "put") == 0)
		return put(s, argv[1], argv + 2);
	if (strcmp(argv[0], "refer") == 0)
		return put(s, NULL, argv + 1);
	if (strcmp(argv[0], "referrers") == 0)
		return list_referrers(s, argv + 1);
	if (strcmp(argv[0], "manifest") == 0)
		return get_manifest(s, argv[1]);
	if (strcmp(argv[0], "blob") == 0)
		return get_blob(s, argv + 1);
	if (strcmp(argv[0], "range") == 0)
		return get_range(s, argv + 1);
	if (strcmp(argv[0], "ranges") == 0)
		return get_ranges(s, argv + 1);
	if (strcmp(argv[0], "download") == 0)
		return download(s, argv + 1);
	if (strcmp(argv[0], "start") == 0)
		return start(s, argv + 1);
	if (strcmp(argv[0], "parallel") == 0)
		return parallel(s, argv + 1);
	if (strcmp(argv[0], "sleep") == 0)
		return usleep((useconds_t)strtoul(argv[1], NULL, 10) * 1000);
	exit(2);
}

/* KiB. Not getrusage(): its highest counts what the starter had before exec(). */
static uint64_t peak_memory(void)
{
	_cleanup_(bytes_free) struct bytes b = {0};
	const char *at;

	if (fd_read_file(AT_FDCWD, "/proc/self/status", 1u << 16, &b) < 0)
		return UINT64_MAX;
	at = memmem(b.data, b.size, "VmHWM:", 6);
	return at ? strtoull(at + 6, NULL, 10) : UINT64_MAX;
}

int main(int argc, char **argv)
{
	_cleanup_(json_field_free) struct json_object *access = NULL;
	_cleanup_(transport_free) struct transport *t = NULL;
	_cleanup_(source_free) struct source *s = NULL;
	struct transport_counters counters;
	struct reference ref = {0};
	int r = 0;

	if (argc < 6)
		return 2;
	ref.kind = strcmp(argv[1], "layout") == 0 ? REFERENCE_LAYOUT : REFERENCE_REGISTRY;
	snprintf(ref.host, sizeof(ref.host), "%s", argv[2]);
	snprintf(ref.path, sizeof(ref.path), "%s", argv[2]);
	snprintf(ref.repository, sizeof(ref.repository), "%s", argv[3]);
	if (strcmp(argv[4], "-") != 0 && json_field_parse(argv[4], strlen(argv[4]), &access) < 0)
		return 2;
	if (transport_new(&t) < 0)
		return 2;
	r = source_open(t, &ref, access, &s);
	for (int i = 5; r == 0 && i < argc; i++) {
		int n = i;

		while (n < argc && strcmp(argv[n], "--") != 0)
			n++;
		r = run(s, argv + i);
		i = n;
	}
	if (r < 0 && !report_any())
		fprintf(stderr, "%s\n", strerror(-r));
	source_free(&s);
	transport_counters(t, &counters);
	fprintf(stderr, "requests %" PRIu64 " bytes %" PRIu64 " peak %" PRIu64 "\n", counters.requests,
		counters.body_bytes, peak_memory());
	return r < 0 ? -r : 0;
}
