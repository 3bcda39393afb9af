#include "CConsole.h"

// C23's #embed: the compiler reads the files, so there is nothing to generate and nothing to install.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char index_html[] = {
#embed "Static/index.html"
};
static const unsigned char console_css[] = {
#embed "Static/console.css"
};
static const unsigned char icon_svg[] = {
#embed "Static/icon.svg"
};
static const unsigned char theme_js[] = {
#embed "Static/theme.js"
};
static const unsigned char main_js[] = {
#embed "Static/main.js"
};
static const unsigned char api_js[] = {
#embed "Static/api.js"
};
static const unsigned char dom_js[] = {
#embed "Static/dom.js"
};
static const unsigned char format_js[] = {
#embed "Static/format.js"
};
static const unsigned char cluster_js[] = {
#embed "Static/cluster.js"
};
static const unsigned char health_js[] = {
#embed "Static/health.js"
};
static const unsigned char collections_js[] = {
#embed "Static/collections.js"
};
static const unsigned char filter_js[] = {
#embed "Static/filter.js"
};
static const unsigned char search_js[] = {
#embed "Static/search.js"
};
static const unsigned char lineage_js[] = {
#embed "Static/lineage.js"
};
static const unsigned char timeline_js[] = {
#embed "Static/timeline.js"
};
static const unsigned char budgets_js[] = {
#embed "Static/budgets.js"
};
static const unsigned char metrics_js[] = {
#embed "Static/metrics.js"
};
static const unsigned char picture_js[] = {
#embed "Static/picture.js"
};
static const unsigned char pca_js[] = {
#embed "Static/pca.js"
};

#define HTML "text/html; charset=utf-8"
#define CSS "text/css; charset=utf-8"
#define SVG "image/svg+xml"
#define JAVASCRIPT "text/javascript; charset=utf-8"

static const vc_console_file files[] = {
    {"index.html", HTML, index_html, sizeof index_html},
    {"console.css", CSS, console_css, sizeof console_css},
    {"icon.svg", SVG, icon_svg, sizeof icon_svg},
    {"theme.js", JAVASCRIPT, theme_js, sizeof theme_js},
    {"main.js", JAVASCRIPT, main_js, sizeof main_js},
    {"api.js", JAVASCRIPT, api_js, sizeof api_js},
    {"dom.js", JAVASCRIPT, dom_js, sizeof dom_js},
    {"format.js", JAVASCRIPT, format_js, sizeof format_js},
    {"cluster.js", JAVASCRIPT, cluster_js, sizeof cluster_js},
    {"health.js", JAVASCRIPT, health_js, sizeof health_js},
    {"collections.js", JAVASCRIPT, collections_js, sizeof collections_js},
    {"filter.js", JAVASCRIPT, filter_js, sizeof filter_js},
    {"search.js", JAVASCRIPT, search_js, sizeof search_js},
    {"lineage.js", JAVASCRIPT, lineage_js, sizeof lineage_js},
    {"timeline.js", JAVASCRIPT, timeline_js, sizeof timeline_js},
    {"budgets.js", JAVASCRIPT, budgets_js, sizeof budgets_js},
    {"metrics.js", JAVASCRIPT, metrics_js, sizeof metrics_js},
    {"picture.js", JAVASCRIPT, picture_js, sizeof picture_js},
    {"pca.js", JAVASCRIPT, pca_js, sizeof pca_js},
};

size_t vc_console_file_count(void) { return sizeof files / sizeof files[0]; }

vc_console_file vc_console_file_at(size_t index) { return files[index]; }
