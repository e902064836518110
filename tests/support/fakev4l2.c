/* fakev4l2.c - a V4L2 camera that exists only inside one process, by LD_PRELOAD.
 *
 * For machines without /dev/video*: a capture program that opens FAKE_PATH talks to this file instead
 * of the kernel. Single-planar, MMAP, one format, fixed frame rate; frames come from files.
 *
 *   cc -O2 -Wall -shared -fPIC -o fakev4l2.so fakev4l2.c -ldl
 *   FAKE_PATH=./fakevideo0 FAKE_FMT=MJPEG FAKE_W=1920 FAKE_H=1080 FAKE_FPS=30 FAKE_DIR=frames \
 *     LD_PRELOAD=./fakev4l2.so  PROGRAM --device ./fakevideo0 ...
 *
 *   FAKE_PATH  the device name to catch (the file need not exist)
 *   FAKE_FMT   MJPEG (files 001.jpg .. 300.jpg, cycled) or YUYV (files 001.yuyv .. 030.yuyv, put once
 *              into the buffers, so that delivering a frame costs nothing)
 *   FAKE_DIR   folder of those files        FAKE_W, FAKE_H, FAKE_FPS   picture size and rate
 *   FAKE_BUSY=1   another program has it    FAKE_GONE_AFTER   frames until it is unplugged
 *   FAKE_SILENT_AFTER   frames until it delivers no more
 *   FAKE_CONTROLS=FILE  has the controls of a UVC camera and keeps their values in FILE (a line "id value" each), as a camera keeps them;
 *                       a new exposure shows in the picture: FAKE_LATE pictures (default 2) after it was set they are 101.jpg and on
 *
 * The "device" is a timerfd, so select/poll/epoll wake at the frame rate; a frame missed by a slow
 * program shows up as a jump in v4l2_buffer.sequence, as with a real camera. The buffers are one memfd.
 * Limits: one stream at a time, any number of opens beside it, one thread in ioctl at a time, programs that call libc's open/ioctl/mmap.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_FRAMES 300
#define MAX_BUFFERS 32
#define QUEUE 64

static unsigned width = 1920, height = 1080, fps = 30;
static int is_jpeg = 1;
#define MAX_OPEN 16
static int opened[MAX_OPEN], opened_count;
static int timer_fd = -1, memory_fd = -1; /* of the one that streams */
static unsigned buffer_count, buffer_bytes, sequence;
static unsigned char *buffers;
static int queue[QUEUE], queue_head, queue_tail;
static unsigned char *jpeg[MAX_FRAMES];
static size_t jpeg_bytes[MAX_FRAMES];
static int jpeg_count;

typedef void *(*mmap_function)(void *, size_t, int, int, int, off_t);

static int is_ours(const char *path)
{
    const char *fake = getenv("FAKE_PATH");
    return fake && path && !strcmp(path, fake);
}

static unsigned number_from_env(const char *name, unsigned fallback)
{
    const char *text = getenv(name);
    return text ? (unsigned)atoi(text) : fallback;
}

static void load_jpegs(void)
{
    char path[512];
    for (; jpeg_count < MAX_FRAMES; jpeg_count++) {
        snprintf(path, sizeof path, "%s/%03d.jpg", getenv("FAKE_DIR"), jpeg_count + 1);
        FILE *file = fopen(path, "rb");
        if (!file)
            break;
        fseek(file, 0, SEEK_END);
        long size = ftell(file);
        rewind(file);
        jpeg[jpeg_count] = malloc(size);
        jpeg_bytes[jpeg_count] = fread(jpeg[jpeg_count], 1, size, file);
        fclose(file);
    }
    if (!jpeg_count) {
        fprintf(stderr, "fakev4l2: no 001.jpg in FAKE_DIR\n");
        abort();
    }
}

static int open_device(void)
{
    const char *format = getenv("FAKE_FMT");
    width = number_from_env("FAKE_W", width);
    height = number_from_env("FAKE_H", height);
    fps = number_from_env("FAKE_FPS", fps);
    if (format)
        is_jpeg = !strcmp(format, "MJPEG");
    buffer_bytes = (width * height * 2 + 4095) & ~4095u;
    if (is_jpeg && !jpeg_count)
        load_jpegs();
    if (opened_count == MAX_OPEN) {
        errno = EMFILE;
        return -1;
    }
    return opened[opened_count++] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
}

static int is_open(int fd)
{
    for (int i = 0; i < opened_count; i++)
        if (opened[i] == fd)
            return 1;
    return 0;
}

int close(int fd)
{
    static int (*real)(int);
    if (!real)
        real = dlsym(RTLD_NEXT, "close");
    for (int i = 0; i < opened_count; i++)
        if (opened[i] == fd)
            opened[i--] = opened[--opened_count];
    if (fd >= 0 && fd == timer_fd) {
        timer_fd = -1;
        if (memory_fd >= 0)
            real(memory_fd);
        memory_fd = -1;
    }
    return real(fd);
}

static struct { unsigned id; const char *name; int minimum, maximum, step, fallback, value; } controls[] = {
    {V4L2_CID_AUTO_WHITE_BALANCE, "White Balance, Automatic", 0, 1, 1, 1, 1},
    {V4L2_CID_GAIN, "Gain", 0, 255, 1, 64, 64},
    {V4L2_CID_POWER_LINE_FREQUENCY, "Power Line Frequency", 0, 2, 1, 2, 2},
    {V4L2_CID_WHITE_BALANCE_TEMPERATURE, "White Balance Temperature", 2000, 6500, 10, 4000, 4000},
    {V4L2_CID_EXPOSURE_AUTO, "Auto Exposure", 0, 3, 1, 3, 3},
    {V4L2_CID_EXPOSURE_ABSOLUTE, "Exposure Time, Absolute", 3, 2047, 1, 250, 250},
    {V4L2_CID_EXPOSURE_AUTO_PRIORITY, "Exposure, Dynamic Framerate", 0, 1, 1, 0, 1},
    {V4L2_CID_FOCUS_ABSOLUTE, "Focus, Absolute", 0, 250, 5, 0, 0},
    {V4L2_CID_FOCUS_AUTO, "Focus, Automatic Continuous", 0, 1, 1, 1, 1},
};
#define CONTROLS (int)(sizeof controls / sizeof *controls)
static unsigned exposure_set_at;
static int exposure_was_set;

static int control_ioctl(unsigned request, void *argument)
{
    unsigned id = *(unsigned *)argument;
    for (int i = 0; getenv("FAKE_CONTROLS") && i < CONTROLS; i++) {
        if (controls[i].id != id)
            continue;
        struct v4l2_control *control = argument;
        if (request == VIDIOC_QUERYCTRL) {
            struct v4l2_queryctrl *query = argument;
            query->type = V4L2_CTRL_TYPE_INTEGER;
            strcpy((char *)query->name, controls[i].name);
            query->minimum = controls[i].minimum;
            query->maximum = controls[i].maximum;
            query->step = controls[i].step;
            query->default_value = controls[i].fallback;
            query->flags = 0;
            return 0;
        }
        if (request == VIDIOC_G_CTRL) {
            control->value = controls[i].value;
            return 0;
        }
        int automatic = controls[4].value == 3;
        if ((id == V4L2_CID_EXPOSURE_ABSOLUTE && automatic) || (id == V4L2_CID_FOCUS_ABSOLUTE && controls[8].value)
            || (id == V4L2_CID_EXPOSURE_AUTO && control->value != 1 && control->value != 3)) {
            errno = EACCES; /* inactive while the camera does it by itself */
            return -1;
        }
        if (id == V4L2_CID_EXPOSURE_ABSOLUTE) {
            exposure_was_set = 1;
            exposure_set_at = sequence;
        }
        controls[i].value = control->value;
        FILE *file = fopen(getenv("FAKE_CONTROLS"), "w");
        for (int k = 0; file && k < CONTROLS; k++)
            fprintf(file, "%u %d\n", controls[k].id, controls[k].value);
        if (file)
            fclose(file);
        return 0;
    }
    errno = EINVAL;
    return -1;
}

#define CATCH_OPEN(name)                                             \
    int name(const char *path, int flags, ...)                       \
    {                                                                \
        static int (*real)(const char *, int, ...);                  \
        va_list list;                                                \
        va_start(list, flags);                                       \
        int mode = va_arg(list, int);                                \
        va_end(list);                                                \
        if (is_ours(path))                                           \
            return open_device();                                    \
        if (!real)                                                   \
            real = dlsym(RTLD_NEXT, #name);                          \
        return real(path, flags, mode);                              \
    }
CATCH_OPEN(open)
CATCH_OPEN(open64)

/* programs built with _FORTIFY_SOURCE call these instead */
#define CATCH_OPEN_2(name, plain)                                    \
    int name(const char *path, int flags) { return plain(path, flags, 0); }
CATCH_OPEN_2(__open_2, open)
CATCH_OPEN_2(__open64_2, open64)

int access(const char *path, int mode)
{
    static int (*real)(const char *, int);
    if (is_ours(path))
        return 0;
    if (!real)
        real = dlsym(RTLD_NEXT, "access");
    return real(path, mode);
}

#define CATCH_MMAP(name)                                                                    \
    void *name(void *where, size_t length, int protection, int flags, int fd, off_t offset) \
    {                                                                                       \
        mmap_function real = dlsym(RTLD_NEXT, #name);                                       \
        return real(where, length, protection, flags,                                       \
                    is_open(fd) ? memory_fd : fd, offset);                    \
    }
CATCH_MMAP(mmap)
CATCH_MMAP(mmap64)

static int request_buffers(struct v4l2_requestbuffers *request)
{
    if (request->count > MAX_BUFFERS)
        request->count = MAX_BUFFERS;
    if (!request->count)
        return 0;
    buffer_count = request->count;
    memory_fd = memfd_create("fakev4l2", 0);
    if (ftruncate(memory_fd, (off_t)buffer_count * buffer_bytes))
        return -1;
    mmap_function real = dlsym(RTLD_NEXT, "mmap");
    buffers = real(NULL, (size_t)buffer_count * buffer_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    for (unsigned i = 0; !is_jpeg && i < buffer_count; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%03d.yuyv", getenv("FAKE_DIR"), i % 30 + 1);
        FILE *file = fopen(path, "rb");
        if (file) {
            if (!fread(buffers + (size_t)i * buffer_bytes, 1, width * height * 2, file))
                fprintf(stderr, "fakev4l2: empty %s\n", path);
            fclose(file);
        }
    }
    return 0;
}

static int dequeue(struct v4l2_buffer *buffer)
{
    unsigned long long ticks;
    struct timespec now;
    if (queue_head == queue_tail || read(timer_fd, &ticks, sizeof ticks) != sizeof ticks) {
        errno = EAGAIN;
        return -1;
    }
    if (number_from_env("FAKE_GONE_AFTER", 0) && sequence >= number_from_env("FAKE_GONE_AFTER", 0)) {
        errno = ENODEV;
        return -1;
    }
    if (number_from_env("FAKE_SILENT_AFTER", 0) && sequence >= number_from_env("FAKE_SILENT_AFTER", 0)) {
        errno = EAGAIN;
        return -1;
    }
    int index = queue[queue_head++ % QUEUE];
    sequence += ticks;
    unsigned shown = is_jpeg ? sequence % jpeg_count : 0;
    if (exposure_was_set && jpeg_count > 100)
        shown = sequence % 30 + (sequence > exposure_set_at + number_from_env("FAKE_LATE", 2) ? 100 : 0);
    if (is_jpeg)
        memcpy(buffers + (size_t)index * buffer_bytes, jpeg[shown], jpeg_bytes[shown]);
    clock_gettime(CLOCK_MONOTONIC, &now);
    buffer->index = index;
    buffer->sequence = sequence;
    buffer->bytesused = is_jpeg ? jpeg_bytes[shown] : width * height * 2;
    buffer->length = buffer_bytes;
    buffer->m.offset = index * buffer_bytes;
    buffer->flags = 0;
    buffer->timestamp.tv_sec = now.tv_sec;
    buffer->timestamp.tv_usec = now.tv_nsec / 1000;
    return 0;
}

static int device_ioctl(int fd, unsigned long request, void *argument)
{
    switch ((unsigned)request) {
    case VIDIOC_QUERYCTRL:
    case VIDIOC_G_CTRL:
    case VIDIOC_S_CTRL:
        return control_ioctl((unsigned)request, argument);
    case VIDIOC_ENUM_FMT: {
        struct v4l2_fmtdesc *format = argument;
        if (format->index > 1 || format->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) {
            errno = EINVAL;
            return -1;
        }
        format->pixelformat = (format->index == 0) == is_jpeg ? V4L2_PIX_FMT_MJPEG : V4L2_PIX_FMT_YUYV;
        return 0;
    }
    case VIDIOC_ENUM_FRAMESIZES: {
        struct v4l2_frmsizeenum *size = argument;
        if (size->index) {
            errno = EINVAL;
            return -1;
        }
        size->type = V4L2_FRMSIZE_TYPE_DISCRETE;
        size->discrete.width = width;
        size->discrete.height = height;
        return 0;
    }
    case VIDIOC_QUERYCAP: {
        struct v4l2_capability *capability = argument;
        memset(capability, 0, sizeof *capability);
        strcpy((char *)capability->driver, "fake");
        strcpy((char *)capability->card, "fakev4l2");
        capability->capabilities = capability->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        return 0;
    }
    case VIDIOC_G_INPUT:
        *(int *)argument = 0;
        return 0;
    case VIDIOC_ENUMINPUT:
        if (((struct v4l2_input *)argument)->index) {
            errno = EINVAL;
            return -1;
        }
        ((struct v4l2_input *)argument)->std = 0;
        return 0;
    case VIDIOC_S_INPUT:
    case VIDIOC_S_STD:
    case VIDIOC_STREAMOFF:
        return 0;
    case VIDIOC_G_FMT:
    case VIDIOC_S_FMT:
    case VIDIOC_TRY_FMT: {
        if (getenv("FAKE_BUSY")) {
            errno = EBUSY;
            return -1;
        }
        struct v4l2_pix_format *pixel = &((struct v4l2_format *)argument)->fmt.pix;
        pixel->width = width;
        pixel->height = height;
        pixel->pixelformat = is_jpeg ? V4L2_PIX_FMT_MJPEG : V4L2_PIX_FMT_YUYV;
        pixel->bytesperline = is_jpeg ? 0 : width * 2;
        pixel->sizeimage = buffer_bytes;
        pixel->field = V4L2_FIELD_NONE;
        return 0;
    }
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
        struct v4l2_captureparm *capture = &((struct v4l2_streamparm *)argument)->parm.capture;
        capture->capability = V4L2_CAP_TIMEPERFRAME;
        capture->timeperframe.numerator = 1;
        capture->timeperframe.denominator = fps;
        return 0;
    }
    case VIDIOC_REQBUFS:
        timer_fd = fd;
        queue_head = queue_tail = 0;
        return request_buffers(argument);
    case VIDIOC_QUERYBUF: {
        struct v4l2_buffer *buffer = argument;
        buffer->length = buffer_bytes;
        buffer->m.offset = buffer->index * buffer_bytes;
        buffer->flags = 0;
        return 0;
    }
    case VIDIOC_QBUF:
        queue[queue_tail++ % QUEUE] = ((struct v4l2_buffer *)argument)->index;
        return 0;
    case VIDIOC_DQBUF:
        return dequeue(argument);
    case VIDIOC_STREAMON: {
        struct itimerspec period = {{0, 1000000000L / fps}, {0, 1000000000L / fps}};
        return timerfd_settime(timer_fd, 0, &period, NULL);
    }
    }
    errno = ENOTTY;
    return -1;
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, ...);
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (is_open(fd))
        return device_ioctl(fd, request, argument);
    if (!real)
        real = dlsym(RTLD_NEXT, "ioctl");
    return real(fd, request, argument);
}
