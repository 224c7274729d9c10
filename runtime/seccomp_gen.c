/* At build time: compiles a seccomp profile for docker's default capabilities and prints it as C. */
#include <fcntl.h>
#include <linux/filter.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"
#include "runtime/caps.h"
#include "runtime/seccomp_profile.h"

int main(int argc, char **argv)
{
	struct bytes text = {0}, program = {0};
	const struct sock_filter *p;
	uint32_t flags = 0;
	FILE *out;
	int r;

	if (argc != 3) {
		fprintf(stderr, "usage: %s PROFILE.json OUT.c\n", argv[0]);
		return 2;
	}
	r = fd_read_file(AT_FDCWD, argv[1], LIMIT_SECCOMP_SIZE, &text);
	if (r < 0) {
		fprintf(stderr, "%s: %s (Debian: package golang-github-containers-common; or -Dseccomp_profile=PATH)\n",
			argv[1], strerror(-r));
		return 1;
	}
	if (seccomp_profile_compile(text.data, text.size, argv[1], CAPS_DEFAULT, &program, &flags) < 0)
		return 1;
	out = fopen(argv[2], "w");
	if (!out)
		return 1;
	p = (const struct sock_filter *)(const void *)program.data;
	fprintf(out, "#include <linux/filter.h>\n#include <stddef.h>\n#include <stdint.h>\n"
		     "extern const struct sock_filter seccomp_default_program[];\n"
		     "extern const size_t seccomp_default_program_size;\nextern const uint32_t seccomp_default_flags;\n"
		     "const uint32_t seccomp_default_flags = %uu;\n"
		     "const size_t seccomp_default_program_size = %zu;\n"
		     "const struct sock_filter seccomp_default_program[] = {\n",
		flags, program.size);
	for (size_t i = 0; i < program.size / sizeof(*p); i++)
		fprintf(out, "\t{0x%x, %u, %u, 0x%xu},\n", p[i].code, p[i].jt, p[i].jf, p[i].k);
	fprintf(out, "};\n");
	bytes_free(&text);
	bytes_free(&program);
	return fclose(out) == 0 ? 0 : 1;
}
