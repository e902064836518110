/* fake_asi.c - a stand-in for ZWO's libASICamera2 with its C interface, for tests of what loads that library.
 *
 *   cc -O2 -Wall -shared -fPIC -o libASICamera2.so fake_asi.c
 *
 * Cameras stand in slots. What is in a slot is one of: 0 a colour camera of 1936x1096 and 12 bits, cooled; 1 a mono camera of
 * 3096x2080 and 14 bits; 2 an old colour camera of 1280x960 without a serial number. A CameraID is not its index: it is the slot + 4.
 * Samples of RAW16 lie at the top of 16 bits. The first pixels of a picture tell how it was taken, one byte each, in the
 * topmost 8 bits of the sample: 2 bytes number of the exposure, 4 bytes exposure in us, 2 bytes gain, 1 byte slot, low byte first.
 *
 * In video mode a frame is exposed while the one before is read out; settings take effect with the next frame; two
 * frames wait to be fetched, older ones are dropped and counted.
 *
 * Environment, read at each call:
 *   FAKE_ASI_CAMERAS=n         slots in use (1)
 *   FAKE_ASI_MODELS=012        what is in each slot (0 in all)
 *   FAKE_ASI_ORDER=10          the order in which the library lists the slots
 *   FAKE_ASI_READOUT_MS=n      a picture is ready n ms after its exposure is over (0)
 *   FAKE_ASI_STATE=folder      what outlives a process and is shared by several:
 *       SLOT.unplugged           as long as the file exists, the cable is off; calls return ASI_ERROR_CAMERA_REMOVED
 *       SLOT.exposures           one byte an exposure: numbers go on from process to process
 *       SLOT.lock                locked by the process that has the camera open
 *   FAKE_ASI_FAIL_EXP=3,7      these exposures end as ASI_EXP_FAILED (in video mode they are dropped)
 *   FAKE_ASI_HANG_EXP=3,7      the call that waits for these exposures never returns
 *   FAKE_ASI_STALL_EXP=3,7     it returns only when another thread stops the exposure or the video
 *   FAKE_ASI_CRASH_EXP=3,7     it ends in a segmentation fault
 *   FAKE_ASI_SILENT=video|snapshot   no picture ever comes in that mode
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ASI_OK, INVALID_INDEX, INVALID_ID, INVALID_CONTROL, CAMERA_CLOSED, CAMERA_REMOVED, INVALID_SIZE = 8,
       INVALID_IMGTYPE, OUT_OF_BOUNDARY, ASI_TIMEOUT, INVALID_SEQUENCE, BUFFER_TOO_SMALL, VIDEO_MODE_ACTIVE,
       EXPOSURE_IN_PROGRESS, GENERAL_ERROR };
enum { EXP_IDLE, EXP_WORKING, EXP_SUCCESS, EXP_FAILED };
enum { RAW8, RGB24, RAW16, Y8 };
enum { GAIN = 0, EXPOSURE = 1, OFFSET = 5, BANDWIDTH = 6, TEMPERATURE = 8, FLIP = 9, HIGH_SPEED = 14, COOLER_POWER = 15,
       TARGET_TEMPERATURE = 16, COOLER_ON = 17 };

typedef struct {
    char Name[64];
    int CameraID;
    long MaxHeight, MaxWidth;
    int IsColorCam, BayerPattern, SupportedBins[16], SupportedVideoFormat[8];
    double PixelSize;
    int MechanicalShutter, ST4Port, IsCoolerCam, IsUSB3Host, IsUSB3Camera;
    float ElecPerADU;
    int BitDepth, IsTriggerCam;
    char Unused[16];
} CameraInfo;

typedef struct {
    char Name[64], Description[128];
    long MaxValue, MinValue, DefaultValue;
    int IsAutoSupported, IsWritable, ControlType;
    char Unused[32];
} ControlCaps;

typedef struct { unsigned char id[8]; } Identity;

static const struct { const char *name; long width, height; int colour, pattern, bits, cooled, usb3, serial; } models[] = {
    {"ZWO ASI462MC stand-in", 1936, 1096, 1, 0, 12, 1, 1, 1},
    {"ZWO ASI178MM stand-in", 3096, 2080, 0, 0, 14, 0, 1, 1},
    {"ZWO ASI120MC stand-in", 1280, 960, 1, 2, 12, 0, 0, 0}};

static const struct { const char *name; long most, least, normal; int automatic, writable, type, cooled; } controls[] = {
    {"Gain", 510, 0, 200, 1, 1, GAIN, 0}, {"Exposure", 2000000000, 32, 10000, 1, 1, EXPOSURE, 0},
    {"WB_R", 99, 1, 52, 1, 1, 3, 0}, {"WB_B", 99, 1, 95, 1, 1, 4, 0}, {"Offset", 80, 0, 8, 0, 1, OFFSET, 0},
    {"BandWidth", 100, 40, 50, 1, 1, BANDWIDTH, 0}, {"Temperature", 1000, -500, 200, 0, 0, TEMPERATURE, 0},
    {"Flip", 3, 0, 0, 0, 1, FLIP, 0}, {"HighSpeedMode", 1, 0, 0, 0, 1, HIGH_SPEED, 0},
    {"CoolPowerPerc", 100, 0, 0, 0, 0, COOLER_POWER, 1}, {"TargetTemp", 30, -40, 0, 0, 1, TARGET_TEMPERATURE, 1},
    {"CoolerOn", 1, 0, 0, 0, 1, COOLER_ON, 1}};
#define CONTROLS ((int)(sizeof controls / sizeof *controls))

typedef struct { int number; long exposure_us, gain; double ready; } Shot;

#define SLOTS 4
#define WAITING 2
static struct {
    int open, ready, width, height, bin, type, x, y, status, video, dropped, exposures, lock;
    volatile int stopped;
    long value[32];
    int automatic[32];
    double warmth, warmth_at;         /* sensor temperature then, in C */
    Shot now, queue[WAITING];         /* the frame being exposed, and finished ones (those of video) */
    int queued;
    double now_ends;
} cams[SLOTS];

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

static int setting(const char *name) { const char *text = getenv(name); return text ? atoi(text) : 0; }

static int listed(const char *name, int number)
{
    const char *text = getenv(name);
    while (text && *text) {
        char *end;
        if (strtol(text, &end, 10) == number)
            return 1;
        if (end == text)
            return 0;
        text = *end ? end + 1 : end;
    }
    return 0;
}

static int state_file(char *path, int slot, const char *kind)
{
    const char *folder = getenv("FAKE_ASI_STATE");
    return folder && snprintf(path, 4096, "%s/%d.%s", folder, slot, kind) < 4096;
}

static int slots(void)
{
    const char *text = getenv("FAKE_ASI_CAMERAS");
    int number = text ? atoi(text) : 1;
    return number < SLOTS ? number : SLOTS;
}

static int model(int slot)
{
    const char *text = getenv("FAKE_ASI_MODELS");
    return text && (int)strlen(text) > slot ? (text[slot] - '0') % 3 : 0;
}

static void let_go(int slot)
{
    cams[slot].open = cams[slot].ready = cams[slot].video = cams[slot].status = 0;
    cams[slot].stopped = 1;
    if (cams[slot].lock > 0)
        close(cams[slot].lock);
    cams[slot].lock = 0;
}

static int unplugged(int slot)
{
    char path[4096];
    if (!state_file(path, slot, "unplugged") || access(path, F_OK))
        return 0;
    let_go(slot);
    return 1;
}

static int count_exposure(int slot)
{
    char path[4096];
    int file;
    if (!state_file(path, slot, "exposures") || (file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600)) < 0)
        return ++cams[slot].exposures;
    struct stat size;
    if (write(file, "x", 1) == 1 && !fstat(file, &size))
        cams[slot].exposures = size.st_size;
    close(file);
    return cams[slot].exposures;
}

/* slots in the order the library lists them, without those whose cable is off; their number */
static int list(int *found)
{
    const char *order = getenv("FAKE_ASI_ORDER");
    int number = 0, all = slots();
    for (int k = 0; k < all; k++) {
        int slot = order && (int)strlen(order) > k ? order[k] - '0' : k;
        if (slot >= 0 && slot < all && !unplugged(slot))
            found[number++] = slot;
    }
    return number;
}

#define SLOT int slot = id - 4; if (slot < 0 || slot >= slots()) return INVALID_ID
#define NEED_PLUGGED SLOT; if (unplugged(slot)) return CAMERA_REMOVED
#define NEED_OPEN NEED_PLUGGED; if (!cams[slot].open) return CAMERA_CLOSED

int ASIGetNumOfConnectedCameras(void) { int found[SLOTS]; return list(found); }
const char *ASIGetSDKVersion(void) { return "1, 41, 0, 0"; }

int ASIGetCameraProperty(CameraInfo *info, int index)
{
    static const int formats[] = {RAW8, RAW16, RGB24, Y8, -1};
    int found[SLOTS], number = list(found);
    if (index < 0 || index >= number)
        return INVALID_INDEX;
    int m = model(found[index]);
    memset(info, 0, sizeof *info);
    strcpy(info->Name, models[m].name);
    info->CameraID = found[index] + 4;
    info->MaxHeight = models[m].height;
    info->MaxWidth = models[m].width;
    info->IsColorCam = models[m].colour;
    info->BayerPattern = models[m].pattern;
    info->IsCoolerCam = models[m].cooled;
    info->IsUSB3Host = info->IsUSB3Camera = models[m].usb3;
    info->SupportedBins[0] = 1;
    info->SupportedBins[1] = 2;
    memcpy(info->SupportedVideoFormat, formats, sizeof formats);
    info->PixelSize = 2.9;
    info->ElecPerADU = 0.2f;
    info->BitDepth = models[m].bits;
    return ASI_OK;
}

int ASIOpenCamera(int id)
{
    char path[4096];
    NEED_PLUGGED;
    if (cams[slot].open)
        return ASI_OK;
    if (state_file(path, slot, "lock")) {
        int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB)) {
            close(lock);
            return GENERAL_ERROR;
        }
        cams[slot].lock = lock;
    }
    cams[slot].open = 1;
    return ASI_OK;
}

int ASIInitCamera(int id)
{
    NEED_OPEN;
    cams[slot].ready = 1;
    cams[slot].width = models[model(slot)].width;
    cams[slot].height = models[model(slot)].height;
    cams[slot].bin = 1;
    cams[slot].type = RAW8;
    cams[slot].x = cams[slot].y = cams[slot].status = cams[slot].video = 0;
    for (int k = 0; k < CONTROLS; k++)
        cams[slot].value[controls[k].type] = controls[k].normal;
    if (!cams[slot].warmth_at) {
        cams[slot].warmth = 20;
        cams[slot].warmth_at = seconds();
    }
    return ASI_OK;
}

int ASICloseCamera(int id)
{
    NEED_PLUGGED;
    let_go(slot);
    return ASI_OK;
}

static int has(int slot, int k) { return !controls[k].cooled || models[model(slot)].cooled; }

int ASIGetNumOfControls(int id, int *number)
{
    NEED_OPEN;
    *number = 0;
    for (int k = 0; k < CONTROLS; k++)
        *number += has(slot, k);
    return ASI_OK;
}

int ASIGetControlCaps(int id, int index, ControlCaps *caps)
{
    NEED_OPEN;
    for (int k = 0; k < CONTROLS; k++) {
        if (!has(slot, k) || index--)
            continue;
        memset(caps, 0, sizeof *caps);
        strcpy(caps->Name, controls[k].name);
        strcpy(caps->Description, controls[k].name);
        caps->MaxValue = controls[k].most;
        caps->MinValue = controls[k].least;
        caps->DefaultValue = controls[k].normal;
        caps->IsAutoSupported = controls[k].automatic;
        caps->IsWritable = controls[k].writable;
        caps->ControlType = controls[k].type;
        return ASI_OK;
    }
    return INVALID_CONTROL;
}

/* the sensor goes to where it is bound with a time constant of half a second */
static double warmth(int slot)
{
    double goal = cams[slot].value[COOLER_ON] ? cams[slot].value[TARGET_TEMPERATURE] : 20;
    return goal + (cams[slot].warmth - goal) * exp((cams[slot].warmth_at - seconds()) / 0.5);
}

int ASIGetControlValue(int id, int type, long *value, int *automatic)
{
    NEED_OPEN;
    if (type < 0 || type > 31)
        return INVALID_CONTROL;
    *value = cams[slot].value[type];
    *automatic = cams[slot].automatic[type];
    if (type == TEMPERATURE)
        *value = lround(10 * warmth(slot));
    if (type == COOLER_POWER)
        *value = cams[slot].value[COOLER_ON] ? lround(fmin(100, fmax(0, 2 * (20 - cams[slot].value[TARGET_TEMPERATURE])))) : 0;
    return ASI_OK;
}

static void advance(int slot);

int ASISetControlValue(int id, int type, long value, int automatic)
{
    NEED_OPEN;
    advance(slot);
    for (int k = 0; k < CONTROLS; k++) {
        if (controls[k].type != type || !has(slot, k))
            continue;
        if (!controls[k].writable)
            return GENERAL_ERROR;
        double warm = warmth(slot);
        cams[slot].value[type] = value < controls[k].least ? controls[k].least : value > controls[k].most ? controls[k].most : value;
        cams[slot].automatic[type] = automatic;
        cams[slot].warmth = warm;
        cams[slot].warmth_at = seconds();
        return ASI_OK;
    }
    return INVALID_CONTROL;
}

int ASIGetROIFormat(int id, int *width, int *height, int *bin, int *type)
{
    NEED_OPEN;
    *width = cams[slot].width;
    *height = cams[slot].height;
    *bin = cams[slot].bin;
    *type = cams[slot].type;
    return ASI_OK;
}

int ASISetROIFormat(int id, int width, int height, int bin, int type)
{
    NEED_OPEN;
    long most_wide = models[model(slot)].width, most_high = models[model(slot)].height;
    if (cams[slot].status == EXP_WORKING)
        return EXPOSURE_IN_PROGRESS;
    if (cams[slot].video)
        return VIDEO_MODE_ACTIVE;
    if ((bin != 1 && bin != 2) || width <= 0 || height <= 0 || width % 8 || height % 2 || width * bin > most_wide || height * bin > most_high)
        return INVALID_SIZE;
    if (model(slot) == 2 && width * height % 1024)
        return INVALID_SIZE;
    if (type < RAW8 || type > Y8)
        return INVALID_IMGTYPE;
    cams[slot].width = width;
    cams[slot].height = height;
    cams[slot].bin = bin;
    cams[slot].type = type;
    cams[slot].x = (most_wide / bin - width) / 2;
    cams[slot].y = (most_high / bin - height) / 2;
    return ASI_OK;
}

int ASIGetStartPos(int id, int *x, int *y) { NEED_OPEN; *x = cams[slot].x; *y = cams[slot].y; return ASI_OK; }

int ASISetStartPos(int id, int x, int y)
{
    NEED_OPEN;
    if (x < 0 || y < 0 || (x + cams[slot].width) * cams[slot].bin > models[model(slot)].width ||
        (y + cams[slot].height) * cams[slot].bin > models[model(slot)].height)
        return OUT_OF_BOUNDARY;
    cams[slot].x = x;
    cams[slot].y = y;
    return ASI_OK;
}

int ASIGetDroppedFrames(int id, int *number) { NEED_OPEN; advance(slot); *number = cams[slot].dropped; return ASI_OK; }

static long picture_bytes(int slot)
{
    return (long)cams[slot].width * cams[slot].height * (cams[slot].type == RAW16 ? 2 : cams[slot].type == RGB24 ? 3 : 1);
}

static void put(int type, unsigned mask, unsigned char *buffer, long pixel, unsigned level)
{
    if (type == RAW16)
        ((unsigned short *)buffer)[pixel] = level & mask;
    else if (type == RGB24)
        buffer[3 * pixel] = buffer[3 * pixel + 1] = buffer[3 * pixel + 2] = level >> 8;
    else
        buffer[pixel] = level >> 8;
}

static void fill(int slot, unsigned char *buffer, const Shot *shot)
{
    long pixels = (long)cams[slot].width * cams[slot].height;
    int type = cams[slot].type;
    unsigned mask = 0xffff << (16 - models[model(slot)].bits);
    double light = shot->exposure_us / 1e6 * (1 + shot->gain / 50.0);
    unsigned base = 200 + cams[slot].value[OFFSET] * 4 + (light > 500 ? 20000 : light * 40), hot = light > 3 ? 60000 : base + 20000 * light;
    unsigned random = 12345u + shot->number;
    for (long pixel = 0; pixel < pixels; pixel++) {
        random = random * 1664525u + 1013904223u;
        put(type, mask, buffer, pixel, (random & 0x3fff) == 7 ? hot : base + (random >> 23));
    }
    unsigned char marks[] = {shot->number, shot->number >> 8, shot->exposure_us, shot->exposure_us >> 8, shot->exposure_us >> 16,
                             shot->exposure_us >> 24, shot->gain, shot->gain >> 8, slot};
    for (unsigned k = 0; k < sizeof marks; k++)
        put(type, mask, buffer, k, marks[k] << 8);
}

static void begin(int slot, double at)
{
    cams[slot].now = (Shot){count_exposure(slot), cams[slot].value[EXPOSURE], cams[slot].value[GAIN], 0};
    cams[slot].now_ends = at + cams[slot].now.exposure_us / 1e6;
    cams[slot].now.ready = cams[slot].now_ends + setting("FAKE_ASI_READOUT_MS") / 1e3;
}

/* what happened in video mode until now */
static void advance(int slot)
{
    double now = seconds();
    while (cams[slot].video && cams[slot].now.ready <= now) {
        if (cams[slot].queued == WAITING) {
            memmove(cams[slot].queue, cams[slot].queue + 1, (WAITING - 1) * sizeof(Shot));
            cams[slot].queued--;
            cams[slot].dropped++;
        }
        Shot done = cams[slot].now;
        if (listed("FAKE_ASI_FAIL_EXP", done.number))
            cams[slot].dropped++;
        else
            cams[slot].queue[cams[slot].queued++] = done;
        /* the next frame was begun when this one's shutter closed, or, if its readout takes longer than an exposure, so that it ends behind it */
        double exposure = cams[slot].value[EXPOSURE] / 1e6, readout = setting("FAKE_ASI_READOUT_MS") / 1e3;
        begin(slot, cams[slot].now_ends + (readout > exposure ? readout - exposure : 0));
    }
}

static void misbehave(int slot, int number)
{
    if (listed("FAKE_ASI_HANG_EXP", number))
        for (;;)
            pause();
    if (listed("FAKE_ASI_STALL_EXP", number))
        while (!cams[slot].stopped)
            usleep(1000);
    if (listed("FAKE_ASI_CRASH_EXP", number))
        *(volatile int *)NULL = 1;
}

static int silent(const char *mode) { const char *text = getenv("FAKE_ASI_SILENT"); return text && !strcmp(text, mode); }

int ASIStartExposure(int id, int dark)
{
    (void)dark;
    NEED_OPEN;
    if (!cams[slot].ready)
        return CAMERA_CLOSED;
    if (cams[slot].video)
        return VIDEO_MODE_ACTIVE;
    if (cams[slot].status == EXP_WORKING)
        return EXPOSURE_IN_PROGRESS;
    cams[slot].status = EXP_WORKING;
    cams[slot].stopped = 0;
    begin(slot, seconds());
    return ASI_OK;
}

int ASIStopExposure(int id)
{
    NEED_OPEN;
    cams[slot].stopped = 1;
    if (cams[slot].status == EXP_WORKING)
        cams[slot].status = EXP_SUCCESS;
    return ASI_OK;
}

int ASIGetExpStatus(int id, int *status)
{
    NEED_OPEN;
    if (cams[slot].status == EXP_WORKING) {
        misbehave(slot, cams[slot].now.number);
        if (cams[slot].status == EXP_WORKING && seconds() >= cams[slot].now.ready && !silent("snapshot"))
            cams[slot].status = listed("FAKE_ASI_FAIL_EXP", cams[slot].now.number) ? EXP_FAILED : EXP_SUCCESS;
    }
    *status = cams[slot].status;
    return ASI_OK;
}

int ASIGetDataAfterExp(int id, unsigned char *buffer, long bytes)
{
    NEED_OPEN;
    if (cams[slot].status != EXP_SUCCESS)
        return INVALID_SEQUENCE;
    if (bytes < picture_bytes(slot))
        return BUFFER_TOO_SMALL;
    fill(slot, buffer, &cams[slot].now);
    cams[slot].status = EXP_IDLE;
    return ASI_OK;
}

int ASIStartVideoCapture(int id)
{
    NEED_OPEN;
    if (cams[slot].status == EXP_WORKING)
        return EXPOSURE_IN_PROGRESS;
    if (cams[slot].video)
        return ASI_OK;
    cams[slot].video = 1;
    cams[slot].stopped = cams[slot].queued = cams[slot].dropped = 0;
    begin(slot, seconds());
    return ASI_OK;
}

int ASIStopVideoCapture(int id) { NEED_OPEN; cams[slot].video = 0; cams[slot].stopped = 1; return ASI_OK; }

int ASIGetVideoData(int id, unsigned char *buffer, long bytes, int wait_ms)
{
    double until = seconds() + (wait_ms < 0 ? 1e9 : wait_ms / 1e3);
    for (;;) {
        NEED_OPEN;
        if (!cams[slot].video)
            return INVALID_SEQUENCE;
        if (bytes < picture_bytes(slot))
            return BUFFER_TOO_SMALL;
        advance(slot);
        misbehave(slot, cams[slot].queued ? cams[slot].queue[0].number : cams[slot].now.number);
        if (cams[slot].queued && !silent("video"))
            break;
        double left = until - seconds(), next = cams[slot].now.ready - seconds();
        if (left <= 0)
            return ASI_TIMEOUT;
        usleep(1 + 1e6 * fmin(0.05, fmin(left, fmax(next, 0))));
    }
    int slot = id - 4;
    fill(slot, buffer, &cams[slot].queue[0]);
    memmove(cams[slot].queue, cams[slot].queue + 1, (WAITING - 1) * sizeof(Shot));
    cams[slot].queued--;
    return ASI_OK;
}

#ifndef FAKE_ASI_OLD  /* libraries before 2019 have no such function */
int ASIGetSerialNumber(int id, Identity *out)
{
    NEED_OPEN;
    if (!models[model(slot)].serial)
        return GENERAL_ERROR;
    memcpy(out->id, "\x1f\x2e\x11\x05\0\0\x09\0", 8);
    out->id[7] = slot + 1;
    return ASI_OK;
}
#endif

/* part of the interface and of no effect here: the binding looks all of them up */
int ASIGetID(int id, Identity *out) { NEED_OPEN; memset(out, 0, sizeof *out); return ASI_OK; }
int ASISetID(int id, Identity in) { (void)in; NEED_OPEN; return ASI_OK; }
int ASIGetCameraSupportMode(int id, int *modes) { NEED_OPEN; memset(modes, 0xff, 64); *modes = 0; return ASI_OK; }
int ASIGetCameraMode(int id, int *mode) { NEED_OPEN; *mode = 0; return ASI_OK; }
int ASISetCameraMode(int id, int mode) { (void)mode; NEED_OPEN; return ASI_OK; }
int ASIGetGainOffset(int id, int *a, int *b, int *c, int *d) { NEED_OPEN; *a = *b = *c = *d = 0; return ASI_OK; }
int ASISendSoftTrigger(int id, int start) { (void)start; NEED_OPEN; return ASI_OK; }
int ASIGetTriggerOutputIOConf(int id, int pin, int *high, long *delay, long *length) { (void)pin, (void)high, (void)delay, (void)length; NEED_OPEN; return ASI_OK; }
int ASISetTriggerOutputIOConf(int id, int pin, int high, long delay, long length) { (void)pin, (void)high, (void)delay, (void)length; NEED_OPEN; return ASI_OK; }
int ASIPulseGuideOn(int id, int direction) { (void)direction; NEED_OPEN; return ASI_OK; }
int ASIPulseGuideOff(int id, int direction) { (void)direction; NEED_OPEN; return ASI_OK; }
int ASIEnableDarkSubtract(int id, char *path) { (void)path; NEED_OPEN; return ASI_OK; }
int ASIDisableDarkSubtract(int id) { NEED_OPEN; return ASI_OK; }
