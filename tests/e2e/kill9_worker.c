/* kill9_worker: what the container of kill9.py does: reads, maps, executes and lists, and knows what is right.
 *
 *   make DIR FILES WORDS                    writes the files whose content load expects
 *   load DIR FILES WORDS PROGRAMS WORKERS   works in WORKERS processes until standard input ends; prints counts
 *   self                                    what load executes (bin/p0, bin/p1, ...): ends with 42
 *
 * Linked statically, so that all its pages come from the image.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STUCK_MS 30000
#define WORKERS_MAX 16

enum kind { READ, MAP, EXEC, LIST, KINDS };
static const char *const names[KINDS] = {"read", "map", "exec", "list"};

struct shared {
	atomic_int stop;
	atomic_ulong done[KINDS], failed[KINDS], wrong[KINDS], slowest_ms[KINDS];
	atomic_ulong began[WORKERS_MAX]; /* ms; 0: between two operations */
	atomic_int said;
};

static struct shared *s;
static const char *dir;
static uint64_t n_files, n_words, n_programs;
static sigjmp_buf bus;

static uint64_t word(uint64_t file, uint64_t i)
{
	uint64_t z = (file << 40) + i + 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static unsigned long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (unsigned long)t.tv_sec * 1000 + (unsigned long)t.tv_nsec / 1000000;
}

static void on_bus(int number)
{
	(void)number;
	siglongjmp(bus, 1);
}

/* 0 right, -1 failed (errno), 1 wrong. */
static int check(uint64_t file, const uint64_t *data, uint64_t first, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (data[i] != word(file, first + i))
			return 1;
	return 0;
}

static int open_file(uint64_t file)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/f%02" PRIu64, dir, file);
	return open(path, O_RDONLY);
}

static int do_read(unsigned *seed)
{
	static uint64_t data[64 << 10];
	uint64_t file = (uint64_t)rand_r(seed) % n_files, n = 1 + (uint64_t)rand_r(seed) % (64 << 10), first;
	int fd = open_file(file), r;
	ssize_t got;

	if (fd < 0)
		return -1;
	if (n > n_words)
		n = n_words;
	first = (uint64_t)rand_r(seed) % (n_words - n + 1);
	got = pread(fd, data, n * 8, (off_t)(first * 8));
	r = got < 0 ? -1 : got != (ssize_t)(n * 8) ? 1 : check(file, data, first, n);
	close(fd);
	return r;
}

static int do_map(unsigned *seed)
{
	uint64_t file = (uint64_t)rand_r(seed) % n_files;
	int fd = open_file(file), r = 0;
	const uint64_t *volatile data;

	if (fd < 0)
		return -1;
	data = mmap(NULL, n_words * 8, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (data == MAP_FAILED)
		return -1;
	if (sigsetjmp(bus, 1)) {
		errno = EFAULT;
		r = -1;
	} else {
		for (int i = 0; r == 0 && i < 16; i++) {
			uint64_t at = (uint64_t)rand_r(seed) % (n_words - 8);

			r = check(file, data + at, at, 8);
		}
	}
	munmap((void *)(uintptr_t)data, n_words * 8);
	return r;
}

static int do_exec(unsigned *seed)
{
	char path[64];
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "/bin/p%d", rand_r(seed) % (int)n_programs);
	pid = fork();
	if (pid < 0)
		return -1;
	if (pid == 0) {
		execl(path, path, "self", (char *)NULL);
		_exit(errno == ENOEXEC ? 98 : 99);
	}
	if (waitpid(pid, &status, 0) < 0)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 42)
		return 0;
	errno = WIFSIGNALED(status) ? EINTR : EIO;
	return WIFEXITED(status) && WEXITSTATUS(status) == 99 ? -1 : 1;
}

static int do_list(unsigned *seed)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	struct stat st;
	uint64_t n = 0;
	char path[300];

	if (!d)
		return -1;
	errno = 0;
	while ((e = readdir(d)))
		n += e->d_name[0] == 'f';
	closedir(d);
	if (errno)
		return -1;
	snprintf(path, sizeof(path), "%s/f%02d", dir, rand_r(seed) % (int)n_files);
	if (stat(path, &st) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/none%d", dir, rand_r(seed) % 1000);
	if (stat(path, &st) == 0 || errno != ENOENT)
		return 1;
	return n == n_files ? 0 : 1;
}

static void work(int number)
{
	static int (*const operations[KINDS])(unsigned *) = {do_read, do_map, do_exec, do_list};
	unsigned seed = (unsigned)number * 7919 + (unsigned)time(NULL);
	struct sigaction a = {.sa_handler = on_bus, .sa_flags = SA_NODEFER};

	sigaction(SIGBUS, &a, NULL);
	while (!s->stop) {
		enum kind k = (enum kind)(rand_r(&seed) % 7);
		unsigned long start = now_ms(), took;
		int r, err;

		if (k >= KINDS)
			k = k % 2 ? READ : MAP;
		s->began[number] = start;
		errno = 0;
		r = operations[k](&seed);
		err = errno;
		took = now_ms() - start;
		s->began[number] = 0;
		s->done[k]++;
		if (took > s->slowest_ms[k])
			s->slowest_ms[k] = took;
		if (r < 0)
			s->failed[k]++;
		else if (r > 0)
			s->wrong[k]++;
		if (r != 0 && s->said++ < 10)
			fprintf(stderr, "%s: %s after %lu ms (%s)\n", names[k], r < 0 ? "failed" : "wrong", took, strerror(err));
		if (r < 0)
			usleep(100000); /* the mount may be gone for good */
	}
	_exit(0);
}

static int load(int n_workers)
{
	unsigned long end;
	int stuck = 0;
	char c;

	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED || n_workers > WORKERS_MAX)
		return 1;
	for (int i = 0; i < n_workers; i++)
		if (fork() == 0)
			work(i);
	puts("up");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	s->stop = 1;
	end = now_ms() + STUCK_MS;
	for (int left = n_workers; left > 0;) {
		if (waitpid(-1, NULL, WNOHANG) > 0) {
			left--;
		} else if (now_ms() > end) {
			stuck = left;
			break;
		} else {
			usleep(10000);
		}
	}
	printf("{\"stuck\": %d", stuck);
	for (int k = 0; k < KINDS; k++)
		printf(", \"%s\": {\"done\": %lu, \"failed\": %lu, \"wrong\": %lu, \"slowest_ms\": %lu}", names[k], s->done[k],
		       s->failed[k], s->wrong[k], s->slowest_ms[k]);
	printf("}\n");
	return stuck > 0;
}

static int make(void)
{
	for (uint64_t f = 0; f < n_files; f++) {
		char path[256];
		FILE *out;

		snprintf(path, sizeof(path), "%s/f%02" PRIu64, dir, f);
		out = fopen(path, "w");
		if (!out)
			return 1;
		for (uint64_t i = 0; i < n_words; i++) {
			uint64_t w = word(f, i);

			if (fwrite(&w, sizeof(w), 1, out) != 1)
				return 1;
		}
		if (fclose(out) != 0)
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return argc > 1 && strcmp(argv[1], "self") == 0 ? 42 : 2;
	dir = argv[2];
	n_files = strtoull(argv[3], NULL, 10);
	n_words = strtoull(argv[4], NULL, 10);
	if (strcmp(argv[1], "make") == 0)
		return make();
	n_programs = argc > 5 ? strtoull(argv[5], NULL, 10) : 1;
	return load(argc > 6 ? atoi(argv[6]) : 4);
}
