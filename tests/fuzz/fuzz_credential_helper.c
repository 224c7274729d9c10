/* What a docker-credential-* program prints. */
#include <assert.h>
#include <stdint.h>

#include "base/report.h"
#include "fetch/credential_helper.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct auth_found f = {0};
	char text[REPORT_TEXT_SIZE];

	report_capture(text);
	if (credential_helper_parse(data, size, "fuzzed", &f) == 0)
		assert(f.identity_token || (f.username && f.password));
	auth_file_free(&f);
	report_capture(NULL);
	return 0;
}
