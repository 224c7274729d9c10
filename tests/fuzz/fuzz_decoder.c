/* Fuzz target: the first byte picks the kind, the second the size of the pieces; output is bounded. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "format/decoder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = {1, 3, 17, 100, 4096, 65536};
	static uint8_t out[65536];
	char report[REPORT_TEXT_SIZE];
	struct decoder *d = NULL;
	size_t in_piece, out_piece, n_in = 0, n_out = 0, total = 0;
	int r = 0;

	if (size < 2 || decoder_new((enum decoder_kind)(data[0] % 3), &d) < 0)
		return 0;
	in_piece = pieces[data[1] % 6];
	out_piece = pieces[data[1] / 6 % 6];
	data += 2;
	size -= 2;
	report_capture(report);
	do {
		size_t n = size < in_piece ? size : in_piece;

		r = decoder_run(d, data, n, &n_in, out, out_piece, &n_out);
		if (r < 0)
			break;
		assert(n_in <= n && n_out <= out_piece && (n_in || n_out || !n));
		data += n_in;
		size -= n_in;
		total += n_out;
	} while ((size || n_out == out_piece) && total < 4u << 20);
	if (r == 0 && !size)
		r = decoder_finish(d);
	assert(r == 0 || report_any());
	report_capture(NULL);
	decoder_free(&d);
	return 0;
}
