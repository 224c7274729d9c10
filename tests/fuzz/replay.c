/* Runs a fuzz target over every file of a corpus directory: the plain build's stand-in for libFuzzer. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	unsigned int n = 0;
	struct dirent *d;
	DIR *dir;

	if (argc != 2 || !(dir = opendir(argv[1]))) {
		fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
		return 2;
	}
	while ((d = readdir(dir))) {
		struct bytes b = {0};

		if (d->d_name[0] == '.')
			continue;
		if (fd_read_file(dirfd(dir), d->d_name, 64u << 20, &b) < 0) {
			fprintf(stderr, "%s/%s: cannot be read\n", argv[1], d->d_name);
			return 1;
		}
		LLVMFuzzerTestOneInput(b.data, b.size);
		bytes_free(&b);
		n++;
	}
	closedir(dir);
	printf("%u inputs replayed from %s\n", n, argv[1]);
	return n ? 0 : 1;
}
