"""ProductService."""

from google.protobuf.empty_pb2 import Empty
from kehu.sales.v1 import product_pb2 as pb
from kehu.sales.v1 import product_service_pb2 as service_pb

from chassis.database import Transaction
from chassis.fields import Field, Kind
from chassis.ids import parse_id
from chassis.listing import RECORD_FIELDS, Listing
from chassis.rpc import Call, Face
from sales.custom_fields import CUSTOM_FIELDS
from sales.product import ACTIVE, RETIRED, STATUSES, Product, change_product, offer, set_status, withdraw
from sales.rpc.messages import PRODUCT

face = Face("kehu.sales.v1.ProductService", custom_fields=CUSTOM_FIELDS)
PRODUCTS = Listing(
    Product,
    "products",
    {
        **RECORD_FIELDS,
        "name": Field("name", Kind.TEXT, sortable=True),
        "sku": Field("sku", Kind.TEXT, sortable=True),
        "series": Field("series", Kind.TEXT, sortable=True),
        "status": Field("status", Kind.ENUM, values=STATUSES, prefix="PRODUCT_STATUS_"),
    },
    default_order="name",
    search=True,
    custom_fields=True,
)


async def _product(tx: Transaction, id: str, etag: str, field: str = "id") -> Product:
    product = await tx.get(Product, parse_id(id, field), right="products")
    tx.check_etag(product, etag)
    return product


async def _answer(tx: Transaction, product: Product) -> pb.Product:
    await tx.session.flush()
    return PRODUCT.message(product)


@face.read("GetProduct")
async def get_product(request: service_pb.GetProductRequest, call: Call) -> pb.Product:
    return PRODUCT.message(await PRODUCTS.get(call, request.id))


@face.read("ListProducts")
async def list_products(
    request: service_pb.ListProductsRequest, call: Call
) -> service_pb.ListProductsResponse:
    page = await PRODUCTS.page(call, request)
    return service_pb.ListProductsResponse(
        products=[PRODUCT.message(row) for row in page.rows], next_page_token=page.next_page_token
    )


@face.write("CreateProduct")
async def create(request: service_pb.CreateProductRequest, tx: Transaction) -> pb.Product:
    id = parse_id(request.product_id, "productId") if request.product_id else None
    return await _answer(tx, await offer(tx, PRODUCT.values(request.product), id))


@face.write("UpdateProduct")
async def update(request: service_pb.UpdateProductRequest, tx: Transaction) -> pb.Product:
    product = await _product(tx, request.product.id, request.product.etag, "product.id")
    await change_product(tx, product, PRODUCT.values(request.product, request.update_mask))
    return await _answer(tx, product)


@face.write("DeleteProduct")
async def delete(request: service_pb.DeleteProductRequest, tx: Transaction) -> Empty:
    await withdraw(tx, await _product(tx, request.id, request.etag))
    return Empty()


@face.write("RetireProduct")
async def retire(request: service_pb.RetireProductRequest, tx: Transaction) -> pb.Product:
    product = await _product(tx, request.id, request.etag)
    set_status(tx, product, RETIRED)
    return await _answer(tx, product)


@face.write("ReactivateProduct")
async def reactivate(request: service_pb.ReactivateProductRequest, tx: Transaction) -> pb.Product:
    product = await _product(tx, request.id, request.etag)
    set_status(tx, product, ACTIVE)
    return await _answer(tx, product)
