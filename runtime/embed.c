/* At build time: prints a file as a C array, NAME_data and NAME_size. */
#include <stdio.h>

int main(int argc, char **argv)
{
	FILE *in, *out;
	size_t n = 0;
	int c;

	if (argc != 4 || !(in = fopen(argv[2], "rb")) || !(out = fopen(argv[3], "w"))) {
		fprintf(stderr, "usage: %s NAME FILE OUT.c\n", argv[0]);
		return 2;
	}
	fprintf(out, "#include <stddef.h>\nextern const unsigned char %s_data[];\nextern const size_t %s_size;\n"
		     "const unsigned char %s_data[] = {", argv[1], argv[1], argv[1]);
	for (; (c = getc(in)) != EOF; n++)
		fprintf(out, "%s%d,", n % 24 ? "" : "\n\t", c);
	fprintf(out, "\n};\nconst size_t %s_size = %zu;\n", argv[1], n);
	fclose(in);
	return fclose(out) == 0 && n > 0 ? 0 : 1;
}
