/* `lazyrun doctor`: prints the checks; exit code 1 when something lazyrun needs is missing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "cli/command_table.h"
#include "cli/doctor.h"
#include "cli/output.h"

static const char *const level_names[] = {"ok", "warn", "bad"};

static int print_text(const struct doctor_report *r)
{
	_cleanup_(bytes_free) struct bytes text = {0};
	int e = 0;

	for (size_t i = 0; e == 0 && i < r->n_checks; i++) {
		const struct doctor_check *c = &r->checks[i];

		e = bytes_printf(&text, "%-4s  %-14s  %s\n", level_names[c->level], c->name, c->text);
		if (e == 0 && c->remedy[0])
			e = bytes_printf(&text, "%22s-> %s\n", "", c->remedy);
	}
	return e < 0 ? e : output_text(text.data, text.size);
}

static int print_json(const struct doctor_report *r, bool good)
{
	_cleanup_(json_field_free) struct json_object *o = json_object_new_object();
	struct json_object *checks = json_object_new_array();

	if (!o || json_object_object_add(o, "ok", json_object_new_boolean(good)) < 0 ||
	    json_object_object_add(o, "checks", checks) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < r->n_checks; i++) {
		const struct doctor_check *c = &r->checks[i];
		struct json_object *one = json_object_new_object();

		if (!one || json_object_array_add(checks, one) < 0 ||
		    json_object_object_add(one, "name", json_object_new_string(c->name)) < 0 ||
		    json_object_object_add(one, "level", json_object_new_string(level_names[c->level])) < 0 ||
		    json_object_object_add(one, "text", json_object_new_string(c->text)) < 0 ||
		    json_object_object_add(one, "remedy", json_object_new_string(c->remedy)) < 0)
			return -ENOMEM;
	}
	return output_json(o);
}

int cmd_doctor(int argc, char **argv)
{
	_cleanup_(fd_free_memory) struct doctor_report *report = calloc(1, sizeof(*report));
	bool json = false, good = true;
	const struct option_spec specs[] = {{"json", 0, OPTION_FLAG, &json, NULL, "JSON"}, {0}};
	const struct option_rules rules = {.command = "doctor", .specs = specs};
	struct options_result o;
	int r;

	if (!report)
		return -ENOMEM;
	r = command_options(&rules, argc, argv, &o);
	if (r != 0)
		return r < 0 ? r : 0;
	doctor_kernel(report);
	doctor_user(report);
	doctor_store(report);
	for (size_t i = 0; i < report->n_checks; i++)
		good = good && report->checks[i].level != DOCTOR_BAD;
	r = json ? print_json(report, good) : print_text(report);
	return r < 0 ? r : good ? 0 : 1;
}
