/* A REPLY packet with no result in it. */
#include "fetch/tell.h"

#include <json-c/json_object.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json_field.h"
#include "base/message.h"

#define TELL_MS 1000

void tell_progress(struct tell *t, size_t layer, size_t layers)
{
	struct message_head head = {.kind = MESSAGE_REPLY, .connection = t->connection};
	_cleanup_(json_field_free) struct json_object *o = NULL;

	if (clock_ms() - t->told < TELL_MS)
		return;
	t->told = clock_ms();
	o = json_object_new_object();
	json_object_object_add(o, "event", json_object_new_string(t->event));
	json_object_object_add(o, "layer", json_object_new_int64((int64_t)layer));
	json_object_object_add(o, "layers", json_object_new_int64((int64_t)layers));
	message_send(t->context->setup->command_fd, &head, o, 1000);
}
