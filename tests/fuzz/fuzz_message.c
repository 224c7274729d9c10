/* One packet to the fetcher, and what an "ensure" says about access. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json_field.h"
#include "base/limits.h"
#include "base/message.h"
#include "base/report.h"
#include "fetch/access.h"
#include "fetch/operations.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(struct json_object *o)
{
	struct json_object *given = NULL;
	struct transport_options options;
	struct access *a = NULL;
	struct reference ref;

	if (operations_reference(o, &ref) < 0)
		return;
	if (json_field_object(o, "access", &given) == 0) {
		json_object_object_del(given, "ca_file"); /* no files of this machine */
		json_object_object_del(given, "certs_dir");
	}
	if (access_load(&ref, given, &a) == 0)
		access_options(a, "https://registry.example/v2/", true, &options);
	access_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_object *o = NULL;
	struct message_head head;
	char text[REPORT_TEXT_SIZE];
	int ends[2];

	if (size > LIMIT_MESSAGE_SIZE || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return 0;
	assert(send(ends[0], data, size, MSG_NOSIGNAL) == (ssize_t)size);
	report_capture(text);
	if (message_receive(ends[1], 0, &head, &o) == 0)
		use(o);
	report_capture(NULL);
	json_field_free(&o);
	close(ends[0]);
	close(ends[1]);
	return 0;
}
