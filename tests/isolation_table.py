"""Every operation: what it needs, and every place where a client may write an id.

A new operation needs a row here, or the build fails. `path`, `query` and `body` name the places of
ids; a place in a body is a JSON pointer into the operation's example. An operation without places
has an empty row: that is a statement too.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL_ROLES = frozenset({"viewer", "editor", "admin"})
_ROLES = {
    None: ALL_ROLES,
    "read": ALL_ROLES,
    "session": ALL_ROLES,
    "jobs": frozenset({"editor", "admin"}),
    "connectors": frozenset({"editor", "admin"}),
    "admin": frozenset({"admin"}),
}


@dataclass(frozen=True)
class Row:
    """One operation."""

    needs: str | None
    path: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    body: tuple[str, ...] = ()

    @property
    def roles(self) -> frozenset[str]:
        """The roles that may use it."""
        return _ROLES[self.needs]


_NEEDS_NOTHING = (
    *("getHealth", "getReadiness", "getMetrics", "getVersion", "getJwks"),
    *("authenticate", "answerMfa", "refreshToken", "verifyToken"),
    *("changeTemporaryPassword", "recoverPassword", "confirmRecoverPassword"),
    *("getSsoConfig", "startSso", "finishSso", "backchannelLogout"),
    *("createTenant", "getTusOptions"),
)
_NO_IDS = {
    "read": (
        *("listConnectorTypes", "listConnectors", "listEvents", "listRenditions"),
        "listMetadataViews",
        *("getTenant", "listDestinations"),
    ),
    "jobs": ("createRendition",),
    "connectors": ("createConnector", "createMetadataView"),
    "admin": (
        *("listApiKeys", "createApiKey", "listUsers", "createUser"),
        *("updateTenant", "deleteTenant", "restoreTenant"),
        *("getTenantSso", "setTenantSso", "deleteTenantSso"),
        *("listWebhooks", "createWebhook"),
    ),
    "session": ("enrolMfa", "confirmMfa", "removeMfa", "logout"),
}
# Names of ids that are of other systems, or of a place within one thing.
OF_OTHERS = frozenset({"channelId", "clientId", "fileId", "programmeId", "stationId"})
_ID = ("id",)
_UPLOAD = ("id", "uploadId")
_FIRST_CLIP = "/tracks/children/0/children/0"
OPERATIONS: dict[str, Row] = {
    **{name: Row(None) for name in _NEEDS_NOTHING},
    **{name: Row(needs) for needs, names in _NO_IDS.items() for name in names},
    "updateApiKey": Row("admin", _ID),
    "listAudit": Row("admin", query=("subject",)),
    "exportAudit": Row("admin", query=("subject",)),
    "getUser": Row("admin", _ID),
    "updateUser": Row("admin", _ID),
    "deleteUser": Row("admin", _ID),
    "updateUserByEmail": Row("admin", ("email",)),
    "deleteUserByEmail": Row("admin", ("email",)),
    "getConnector": Row("read", _ID),
    "updateConnector": Row("connectors", _ID),
    "deleteConnector": Row("connectors", _ID),
    "checkConnectorAuth": Row("connectors", _ID),
    "queryConnector": Row("read", _ID),
    "getSource": Row("read", _ID),
    "listMetadataDefinitions": Row("read", _ID),
    "searchMetadata": Row("read", _ID, query=("view",)),
    "listMetadata": Row("read", _ID, query=("view",)),
    "createMetadata": Row("jobs", _ID, body=("/view",)),
    "getMetadata": Row("read", _ID),
    "updateMetadata": Row("jobs", _ID),
    "deleteMetadata": Row("jobs", _ID),
    "getMetadataView": Row("read", _ID),
    "updateMetadataView": Row("connectors", _ID),
    "deleteMetadataView": Row("connectors", _ID),
    "getChannelEpg": Row("read", _ID),
    "listSegmentExports": Row("read", _ID),
    "exportSegment": Row(
        "jobs", _ID, body=("/destination/connectorId", "/ranges/0/connectorId", "/renditionId")
    ),
    "createReference": Row("jobs", _ID),
    "getChannelStation": Row("read", _ID),
    "setChannelStation": Row("connectors", _ID, body=("/epgConnectorId",)),
    "removeChannelStation": Row("connectors", _ID),
    "suggestStations": Row("read", _ID, query=("epgConnectorId",)),
    "getClip": Row("read", _ID),
    "clipFromStream": Row("jobs", _ID),
    "getLocalization": Row("read", _ID),
    "getThumbnail": Row("read", _ID),
    "localizeFile": Row("jobs", _ID, body=("/renditionId",)),
    "createRenditionJob": Row("jobs", _ID, body=("/renditionIds/0", "/destination/connectorId")),
    "lookupStations": Row("read", query=("connectorId",)),
    "listJobs": Row("read", query=("connectorId",)),
    "getJob": Row("read", _ID),
    "getJobFile": Row("read", _ID),
    "cancelJob": Row("jobs", _ID),
    "listJobEvents": Row("read", _ID),
    "retryJob": Row("jobs", _ID),
    "createProject": Row("jobs", body=(f"{_FIRST_CLIP}/metadata/cuttingroom/connectorId",)),
    "listProjects": Row("read", query=("contributedBy", "editedBy")),
    "getProject": Row("read", _ID),
    "updateProject": Row("jobs", _ID),
    "replaceTimeline": Row("jobs", _ID, body=(f"{_FIRST_CLIP}/metadata/cuttingroom/connectorId",)),
    "deleteProject": Row("jobs", _ID),
    "renderProject": Row("jobs", _ID, body=("/destination/connectorId", "/renditionId")),
    "createDestination": Row("connectors", body=("/connectorId",)),
    "getDestination": Row("read", _ID),
    "updateDestination": Row("connectors", _ID, body=("/connectorId",)),
    "deleteDestination": Row("connectors", _ID),
    "createUploadCredentials": Row("jobs", _ID),
    "listUploads": Row("read", _ID),
    "getUpload": Row("read", _UPLOAD),
    "cancelUpload": Row("jobs", _UPLOAD),
    "renewUploadCredentials": Row("jobs", _UPLOAD),
    "completeUpload": Row("jobs", _UPLOAD),
    **{name: Row(None, _ID) for name in ("headTusUpload", "patchTusUpload", "deleteTusUpload")},
    "getRendition": Row("read", _ID),
    "updateRendition": Row("jobs", _ID),
    "deleteRendition": Row("jobs", _ID),
    "getWebhook": Row("admin", _ID),
    "updateWebhook": Row("admin", _ID),
    "deleteWebhook": Row("admin", _ID),
    "testWebhook": Row("admin", _ID),
    "listWebhookDeliveries": Row("admin", _ID),
    "redeliverWebhook": Row("admin", ("id", "deliveryId")),
}
