/* Steps a stock X11/GLX Minetest client frame by frame (LD_PRELOAD).
 *
 * The engine's only clock is clock_gettime(CLOCK_MONOTONIC_RAW): it is answered with a virtual clock that moves by one
 * step a frame. glXSwapBuffers reads the frame back, sends it over the socket WORLDMODEL_LUANTI_FD and waits for the
 * next action. Keys, buttons and mouse motion are injected where the engine's window library (Irrlicht) asks X11 for
 * them: XPending, XNextEvent, XQueryPointer and the pointer warps. Until the first request the game runs freely, so
 * that its world can load.
 *
 * Wire format (little endian, native structs below): request = header + events; reply = header + RGB rows, top first.
 */
#define _GNU_SOURCE
#include <GL/gl.h>
#include <GL/glx.h>
#include <X11/Xlib.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct request { uint32_t step_us; int32_t dx, dy; uint32_t events; };
struct input { uint32_t kind, code; };
enum { KEY_UP, KEY_DOWN, BUTTON_UP, BUTTON_DOWN };
struct reply { uint32_t width, height; uint64_t frame; };

#define QUEUE 256

static int channel = -1;
static int stepping; /* set once the first request has come */
static int64_t virtual_ns;
static uint64_t frame_number;
static Display *display;
static Window window;
static int warp_x, warp_y, motion_x, motion_y;
static unsigned width, height;
static XEvent queue[QUEUE];
static int queue_head, queue_tail;
static unsigned char *pixels;

static void *real(const char *name) {
  void *symbol = dlsym(RTLD_NEXT, name);
  if (!symbol) { fprintf(stderr, "[shim] no %s\n", name); abort(); }
  return symbol;
}
#define REAL(name) ({ static __typeof__(&name) f; if (!f) f = (__typeof__(&name))real(#name); f; })

__attribute__((constructor)) static void start(void) {
  const char *fd = getenv("WORLDMODEL_LUANTI_FD");
  if (fd) channel = atoi(fd);
}

int clock_gettime(clockid_t id, struct timespec *ts) {
  if (id == CLOCK_MONOTONIC_RAW && __atomic_load_n(&stepping, __ATOMIC_ACQUIRE)) {
    int64_t now = __atomic_load_n(&virtual_ns, __ATOMIC_RELAXED);
    ts->tv_sec = now / 1000000000;
    ts->tv_nsec = now % 1000000000;
    return 0;
  }
  return REAL(clock_gettime)(id, ts);
}

/* The engine draws its single-player UDP port from time(): two games started in one second would collide. */
time_t time(time_t *out) {
  struct timespec ts;
  REAL(clock_gettime)(CLOCK_REALTIME, &ts);
  time_t now = ts.tv_sec + (getpid() * 7919L) % 8640000L;
  if (out) *out = now;
  return now;
}

/* The other side has gone: leave without the engine's shutdown, which would wait for a window. */
static void leave(void) { _exit(0); }

static void receive(void *data, size_t size) {
  for (char *at = data; size;) {
    ssize_t got = read(channel, at, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) leave();
    at += got;
    size -= got;
  }
}

static void transmit(const void *data, size_t size) {
  for (const char *at = data; size;) {
    ssize_t put = write(channel, at, size);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) leave();
    at += put;
    size -= put;
  }
}

static void enqueue(const XEvent *event) {
  int next = (queue_tail + 1) % QUEUE;
  if (next == queue_head) return; /* full: 256 events in one frame are nobody's hands */
  queue[queue_tail] = *event;
  queue_tail = next;
}

static void enqueue_input(struct input input) {
  XEvent event;
  memset(&event, 0, sizeof event);
  Time now = virtual_ns / 1000000;
  if (input.kind == KEY_UP || input.kind == KEY_DOWN) {
    event.xkey.type = input.kind == KEY_DOWN ? KeyPress : KeyRelease;
    event.xkey.display = display;
    event.xkey.window = window;
    event.xkey.root = DefaultRootWindow(display);
    event.xkey.keycode = XKeysymToKeycode(display, input.code);
    event.xkey.same_screen = True;
    event.xkey.time = now;
  } else {
    event.xbutton.type = input.kind == BUTTON_DOWN ? ButtonPress : ButtonRelease;
    event.xbutton.display = display;
    event.xbutton.window = window;
    event.xbutton.root = DefaultRootWindow(display);
    event.xbutton.button = input.code;
    event.xbutton.x = warp_x;
    event.xbutton.y = warp_y;
    event.xbutton.same_screen = True;
    event.xbutton.time = now;
  }
  enqueue(&event);
}

static void begin_stepping(Display *d, GLXDrawable drawable) {
  glXQueryDrawable(d, drawable, GLX_WIDTH, &width);
  glXQueryDrawable(d, drawable, GLX_HEIGHT, &height);
  pixels = malloc((size_t)width * height * 3);
  if (!pixels || !width || !height) { fprintf(stderr, "[shim] no drawable\n"); leave(); }
  warp_x = width / 2;
  warp_y = height / 2;
  struct timespec ts;
  REAL(clock_gettime)(CLOCK_MONOTONIC_RAW, &ts);
  virtual_ns = ts.tv_sec * 1000000000LL + ts.tv_nsec;
  __atomic_store_n(&stepping, 1, __ATOMIC_RELEASE);
  XEvent focus; /* without focus the game ignores its inputs */
  memset(&focus, 0, sizeof focus);
  focus.xfocus.type = FocusIn;
  focus.xfocus.display = d;
  focus.xfocus.window = drawable;
  focus.xfocus.mode = NotifyNormal;
  enqueue(&focus);
}

static void send_frame(void) {
  glPixelStorei(GL_PACK_ALIGNMENT, 1);
  glReadPixels(0, 0, width, height, GL_RGB, GL_UNSIGNED_BYTE, pixels);
  struct reply reply = {width, height, frame_number};
  transmit(&reply, sizeof reply);
  for (unsigned y = 0; y < height; y++) /* OpenGL's rows start at the bottom */
    transmit(pixels + (size_t)(height - 1 - y) * width * 3, (size_t)width * 3);
}

void glXSwapBuffers(Display *d, GLXDrawable drawable) {
  display = d;
  window = drawable;
  frame_number++;
  if (channel < 0) { REAL(glXSwapBuffers)(d, drawable); return; }
  if (!stepping) {
    struct pollfd waiting = {channel, POLLIN, 0};
    if (poll(&waiting, 1, 0) <= 0) { REAL(glXSwapBuffers)(d, drawable); return; }
    begin_stepping(d, drawable);
  } else {
    send_frame();
  }
  struct request request;
  receive(&request, sizeof request);
  for (uint32_t i = 0; i < request.events; i++) {
    struct input input;
    receive(&input, sizeof input);
    enqueue_input(input);
  }
  motion_x = request.dx;
  motion_y = request.dy;
  __atomic_store_n(&virtual_ns, virtual_ns + (int64_t)request.step_us * 1000, __ATOMIC_RELAXED);
}

int XPending(Display *d) { return stepping && queue_head != queue_tail ? 1 : REAL(XPending)(d); }

int XNextEvent(Display *d, XEvent *event) {
  if (stepping && queue_head != queue_tail) {
    *event = queue[queue_head];
    queue_head = (queue_head + 1) % QUEUE;
    return 0;
  }
  int result = REAL(XNextEvent)(d, event);
  if (stepping && event->type == FocusOut) event->type = FocusIn;
  return result;
}

Bool XQueryPointer(Display *d, Window w, Window *root, Window *child, int *root_x, int *root_y, int *x, int *y,
                   unsigned *mask) {
  if (!stepping) return REAL(XQueryPointer)(d, w, root, child, root_x, root_y, x, y, mask);
  *root = *child = w;
  *mask = 0;
  *root_x = *x = warp_x + motion_x;
  *root_y = *y = warp_y + motion_y;
  return True;
}

/* The engine puts the pointer back to the middle after it has read the motion. */
static void warped(int x, int y) {
  warp_x = x;
  warp_y = y;
  motion_x = motion_y = 0;
}

int XWarpPointer(Display *d, Window from, Window to, int from_x, int from_y, unsigned from_w, unsigned from_h, int x,
                 int y) {
  if (!stepping) return REAL(XWarpPointer)(d, from, to, from_x, from_y, from_w, from_h, x, y);
  warped(x, y);
  return 0;
}

int XIWarpPointer(Display *d, int device, Window from, Window to, double from_x, double from_y, unsigned from_w,
                  unsigned from_h, double x, double y) {
  typedef int (*warp)(Display *, int, Window, Window, double, double, unsigned, unsigned, double, double);
  static warp real_warp;
  if (stepping) { warped((int)x, (int)y); return 0; }
  if (!real_warp) real_warp = (warp)real("XIWarpPointer");
  return real_warp(d, device, from, to, from_x, from_y, from_w, from_h, x, y);
}
