/* --format: what is rendered, and what is refused with which words. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json_field.h"
#include "base/report.h"
#include "cli/template.h"

#include <cmocka.h> /* after report.h: it makes a macro of fail() */

static const char document[] =
	"{\"Name\": \"debian\", \"n\": 3, \"yes\": true, \"none\": null, \"manifest_digest\": \"sha256:1\","
	" \"Config\": {\"Env\": [\"A=b\", \"C=d\"], \"Labels\": {\"x.y\": \"z\"}}, \"Empty\": [],"
	" \"Layers\": [{\"Digest\": \"d1\", \"Parts\": [1, 2]}, {\"Digest\": \"d2\", \"Parts\": []}]}";

static int render(const char *format, struct bytes *out)
{
	struct json_object *o;
	int r;

	assert_int_equal(json_field_parse(document, strlen(document), &o), 0);
	r = template_render(format, o, out);
	json_field_free(&o);
	assert_int_equal(bytes_terminate(out), 0);
	return r;
}

static void renders(void **unused)
{
	static const struct {
		const char *format, *text;
	} cases[] = {
		{"", ""},
		{"plain { text }", "plain { text }"},
		{"{{.Name}}", "debian"},
		{"{{ .Name }}:{{.n}}", "debian:3"},
		{"{{.name}} {{.ManifestDigest}}", "debian sha256:1"},
		{"{{.yes}} {{.none}}", "true <nil>"},
		{"{{.Config.Env}}", "[A=b C=d]"},
		{"{{.Config.Labels}}", "map[x.y:z]"},
		{"{{json .Config}}", "{\"Env\":[\"A=b\",\"C=d\"],\"Labels\":{\"x.y\":\"z\"}}"},
		{"{{json .none}}", "null"},
		{"{{len .Layers}} {{len .Name}} {{len .none}}", "2 6 0"},
		{"{{index .Config.Env 1}}", "C=d"},
		{"{{index .Config.Labels \"x.y\"}}", "z"},
		{"{{join .Config.Env \", \"}}", "A=b, C=d"},
		{"{{range .Layers}}<{{.Digest}}>{{end}}!", "<d1><d2>!"},
		{"{{range .Layers}}{{.Digest}}{{range .Parts}} {{.}}{{end}};{{end}}", "d1 1 2;d2;"},
		{"{{range .Empty}}never{{end}}after", "after"},
		{"a\\tb\\n", "a\tb\n"},
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bytes out = {0};

		assert_int_equal(render(cases[i].format, &out), 0);
		assert_string_equal((char *)out.data, cases[i].text);
		bytes_free(&out);
	}
}

static void refuses(void **unused)
{
	static const struct {
		const char *format, *text;
	} cases[] = {
		{"{{.Nam}}", "no field '.Nam'; there is .Name, .n"},
		{"{{.Name.x}}", "something that has no fields"},
		{"{{Name}}", "fields begin with a dot: {{.Name}}"},
		{"{{.Name", "without '}}'"},
		{"{{}}", "is empty"},
		{"{{end}}", "without {{range"},
		{"{{range .Layers}}", "{{range .Field}} ... {{end}}"},
		{"{{range .Name}}{{end}}", "needs a list"},
		{"{{index .Config.Env 2}}", "behind the end"},
		{"{{index .Config.Env -1}}", "behind the end"},
		{"{{shout .Name}}", "'shout' with 1 arguments is not known"},
		{"{{.Name | json}}", "pipelines"},
		{"{{..}}", "no field's name"},
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bytes out = {0};
		char text[REPORT_TEXT_SIZE];

		report_capture(text);
		assert_int_equal(render(cases[i].format, &out), -EINVAL);
		report_capture(NULL);
		if (!strstr(text, cases[i].text))
			fail_msg("%s: '%s' instead of '%s'", cases[i].format, text, cases[i].text);
		bytes_free(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(renders),
		cmocka_unit_test(refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
