/* `lazyrun inspect IMAGE`: what an image is (as skopeo says it), and what of it is in the store. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/json_field.h"
#include "base/limits.h"
#include "base/report.h"
#include "cache/layer_store.h"
#include "cli/command_table.h"
#include "cli/ensure.h"
#include "cli/human.h"
#include "cli/output.h"

struct inspection {
	struct store *store;
	struct ensure_result *image;
	struct bytes manifest, config;
	struct json_object *manifest_json, *config_json;
};

static void inspection_free(struct inspection *i)
{
	json_field_free(&i->manifest_json);
	json_field_free(&i->config_json);
	bytes_free(&i->manifest);
	bytes_free(&i->config);
	ensure_result_free(&i->image);
	store_free(&i->store);
}

static int parse(const struct bytes *b, const char *what, const struct digest *d, struct json_object **ret)
{
	char text[DIGEST_TEXT_MAX];

	if (json_field_parse(b->data, b->size, ret) < 0)
		return fail(EBADMSG, "the %s %s is no valid JSON", what, digest_text(d, text));
	return 0;
}

static int load(const struct ensure_options *options, struct inspection *i)
{
	int r = store_open(NULL, NULL, true, &i->store);

	if (r == 0)
		r = ensure_image(i->store, options, ENSURE_MANIFEST, &i->image);
	if (r == 0)
		r = ensure_read_blob(i->store, &i->image->manifest_digest, LIMIT_MANIFEST_SIZE, &i->manifest);
	if (r == 0)
		r = ensure_read_blob(i->store, &i->image->config_digest, LIMIT_CONFIG_SIZE, &i->config);
	if (r == 0)
		r = parse(&i->manifest, "manifest", &i->image->manifest_digest, &i->manifest_json);
	if (r == 0)
		r = parse(&i->config, "image config", &i->image->config_digest, &i->config_json);
	return r;
}

static int add(struct json_object *o, const char *key, struct json_object *value)
{
	return json_object_object_add(o, key, value) < 0 ? -ENOMEM : 0;
}

static int add_text(struct json_object *o, const char *key, const char *text)
{
	return add(o, key, json_object_new_string(text));
}

/* Shares the value; absent becomes null or is left out. */
static int add_field(struct json_object *o, const char *key, struct json_object *from, const char *field,
		     bool always)
{
	struct json_object *value = NULL;

	if (json_object_is_type(from, json_type_object))
		(void)json_object_object_get_ex(from, field, &value);
	return value || always ? add(o, key, json_object_get(value)) : 0;
}

static int add_name(struct json_object *o, const struct reference *ref)
{
	char name[LIMIT_PATH_SIZE + 512];

	if (ref->kind == REFERENCE_LAYOUT)
		snprintf(name, sizeof(name), "oci:%s", ref->path);
	else
		snprintf(name, sizeof(name), "%s/%s", ref->host, ref->repository);
	return add_text(o, "Name", name);
}

static int add_layers(struct json_object *o, const struct inspection *i)
{
	struct json_object *layers = json_object_new_array(), *data = json_object_new_array();
	char text[DIGEST_TEXT_MAX];
	int r = add(o, "Layers", layers);

	if (r == 0)
		r = add(o, "LayersData", data);
	for (size_t n = 0; r == 0 && n < i->image->n_layers; n++) {
		const struct ensure_layer *l = &i->image->layers[n];
		struct json_object *one = json_object_new_object();

		digest_text(&l->digest, text);
		if (json_object_array_add(layers, json_object_new_string(text)) < 0 ||
		    json_object_array_add(data, one) < 0)
			return -ENOMEM;
		r |= add_text(one, "MIMEType", l->media_type);
		r |= add_text(one, "Digest", text);
		r |= add(one, "Size", json_object_new_uint64(l->size));
		if (l->diff_id.algorithm != DIGEST_NONE)
			r |= add_text(one, "DiffID", digest_text(&l->diff_id, text));
	}
	return r < 0 ? -ENOMEM : 0;
}

/* Plain bytes of a layer in the store; false: the layer is not there at all. */
static bool layer_state(const struct inspection *i, const struct ensure_layer *l, uint64_t *present, uint64_t *total)
{
	_cleanup_(layer_store_free) struct layer_store *layer = NULL;

	*present = *total = 0;
	if (!l->key[0] || layer_store_open(i->store, l->key, false, &layer) < 0)
		return false;
	*present = layer_store_bytes_present(layer);
	*total = layer_store_size(layer);
	return true;
}

static int add_local(struct json_object *o, const struct inspection *i)
{
	struct json_object *local = json_object_new_object();
	uint64_t present = 0, total = 0;
	size_t n_here = 0;
	int r = add(o, "Local", local);

	if (r < 0)
		return r;
	for (size_t n = 0; n < i->image->n_layers; n++) {
		uint64_t layer_present, layer_total;

		n_here += layer_state(i, &i->image->layers[n], &layer_present, &layer_total);
		present += layer_present;
		total += layer_total;
	}
	r |= add_text(local, "Store", i->store->store_path);
	r |= add_text(local, "ImageKey", i->image->image_key);
	r |= add(local, "LayersHere", json_object_new_uint64(n_here));
	r |= add(local, "BytesPresent", json_object_new_uint64(present));
	r |= add(local, "BytesTotal", json_object_new_uint64(total));
	r |= add(local, "Complete", json_object_new_boolean(n_here == i->image->n_layers && present == total));
	return r < 0 ? -ENOMEM : 0;
}

static int describe(const struct inspection *i, struct json_object **ret)
{
	_cleanup_(json_field_free) struct json_object *o = json_object_new_object();
	struct json_object *config = NULL;
	char text[DIGEST_TEXT_MAX];
	int r;

	if (!o)
		return -ENOMEM;
	(void)json_field_object(i->config_json, "config", &config);
	r = add_name(o, &i->image->reference);
	r |= add_text(o, "Digest", digest_text(&i->image->manifest_digest, text));
	r |= add_field(o, "Created", i->config_json, "created", true);
	r |= json_object_object_add(o, "DockerVersion", json_object_new_string(""));
	r |= add_field(o, "DockerVersion", i->config_json, "docker_version", false);
	r |= add_field(o, "Labels", config, "Labels", true);
	r |= add_field(o, "Architecture", i->config_json, "architecture", true);
	r |= add_field(o, "Variant", i->config_json, "variant", false);
	r |= add_field(o, "Os", i->config_json, "os", true);
	r |= add_layers(o, i);
	r |= add_field(o, "Env", config, "Env", true);
	r |= add_field(o, "Entrypoint", config, "Entrypoint", false);
	r |= add_field(o, "Cmd", config, "Cmd", false);
	r |= add_field(o, "User", config, "User", false);
	r |= add_field(o, "WorkingDir", config, "WorkingDir", false);
	r |= add_field(o, "Volumes", config, "Volumes", false);
	r |= add_field(o, "ExposedPorts", config, "ExposedPorts", false);
	r |= add_field(o, "StopSignal", config, "StopSignal", false);
	r |= add_field(o, "Annotations", i->manifest_json, "annotations", false);
	r |= add_text(o, "ConfigDigest", digest_text(&i->image->config_digest, text));
	r |= add_local(o, i);
	if (r < 0)
		return -ENOMEM;
	*ret = TAKE(o);
	return 0;
}

static int print_layers(const struct inspection *i)
{
	int r = 0;

	printf("%3s  %-12s  %9s  %9s  %-7s  %-8s  %s\n", "#", "DIGEST", "PACKED", "PLAIN", "HERE", "FROM", "TYPE");
	for (size_t n = 0; r == 0 && n < i->image->n_layers; n++) {
		const struct ensure_layer *l = &i->image->layers[n];
		_cleanup_(bytes_free) struct bytes line = {0};
		char hex[DIGEST_HEX_MAX + 1], packed[HUMAN_SIZE], plain[HUMAN_SIZE] = "-", here[HUMAN_SIZE] = "no";
		const char *from = "-";
		uint64_t present, total;

		if (layer_state(i, l, &present, &total)) {
			human_bytes(total, plain);
			from = l->from;
			snprintf(here, sizeof(here), "%.0f%%", total ? (double)present * 100 / (double)total : 100.0);
		}
		r = bytes_printf(&line, "%3zu  %-12.12s  %9s  %9s  %-7s  %-8s  %s\n", n + 1, digest_hex(&l->digest, hex),
				 human_bytes(l->size, packed), plain, here, from, l->media_type);
		if (r == 0)
			r = output_text(line.data, line.size);
	}
	return r;
}

struct choice {
	bool raw, config, layers;
	const char *format;
};

static int print(const struct inspection *i, const struct choice *c)
{
	_cleanup_(json_field_free) struct json_object *o = NULL;
	const struct bytes *raw = c->config ? &i->config : &i->manifest;
	int r;

	if (c->raw)
		return output_raw(raw->data, raw->size);
	if (c->layers)
		return print_layers(i);
	if (c->config && c->format)
		return output_format(c->format, i->config_json);
	if (c->config)
		return output_json(i->config_json);
	r = describe(i, &o);
	if (r < 0)
		return r;
	return c->format ? output_format(c->format, o) : output_json(o);
}

int cmd_inspect(int argc, char **argv)
{
	_cleanup_(inspection_free) struct inspection i = {0};
	struct ensure_options options = {0};
	struct choice c = {0};
	struct option_spec specs[ENSURE_N_OPTIONS + 5] = {
		{"raw", 0, OPTION_FLAG, &c.raw, NULL, "the manifest, byte for byte; with --config the image config"},
		{"config", 0, OPTION_FLAG, &c.config, NULL, "the image config"},
		{"layers", 0, OPTION_FLAG, &c.layers, NULL, "a table of the layers"},
		{"format", 0, OPTION_TEXT, &c.format, "TEMPLATE", "a Go template: {{.Digest}} {{json .Labels}}"},
	};
	const struct option_rules rules = {.command = "inspect", .specs = specs, .min_operands = 1, .max_operands = 1};
	struct options_result o;
	int r;

	ensure_option_specs(&options, specs + 4);
	r = command_options(&rules, argc, argv, &o);
	if (r != 0)
		return r < 0 ? r : 0;
	if (c.raw && (c.format || c.layers))
		return fail(EINVAL, "inspect: --raw does not go together with --format or --layers");
	if (c.layers && (c.format || c.config))
		return fail(EINVAL, "inspect: --layers does not go together with --format or --config");
	options.image = o.operands[0];
	r = load(&options, &i);
	return r < 0 ? r : print(&i, &c);
}
