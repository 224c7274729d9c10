/* A file of logins: what is found is whole. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/report.h"
#include "fetch/auth_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"debian", "quay.io/team/app", "[::1]:5000/x"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct auth_found f = {0};
		char said[REPORT_TEXT_SIZE];
		struct reference ref;

		report_capture(said);
		assert(reference_parse(names[i], &ref) == 0);
		if (auth_file_find(data, size, "fuzzed", &ref, &f) == 0) {
			assert(!f.key || f.identity_token || (f.username && f.password));
			assert(!f.key || strncmp(f.key, ref.host, strlen(ref.host)) == 0);
			assert(!f.helper || !strchr(f.helper, '/'));
		} else {
			assert(said[0]);
		}
		auth_file_free(&f);
		report_capture(NULL);
	}
	return 0;
}
